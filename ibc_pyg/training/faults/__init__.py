"""Interruption and divergence of a training."""
