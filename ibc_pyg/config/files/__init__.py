"""Experiment files: reading, writing, overlays, renamed fields, those that are shipped."""
