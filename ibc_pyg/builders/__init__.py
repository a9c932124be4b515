"""Builders: the parts of an experiment, made from its configuration."""
