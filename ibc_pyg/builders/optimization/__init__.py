"""Optimizer, schedule, averaged and frozen weights from the configuration."""
