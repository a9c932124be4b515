"""Builders of the parts of an experiment from its configuration."""
