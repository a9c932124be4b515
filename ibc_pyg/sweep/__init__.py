"""Searches over hyper-parameters, in W&B's format and without its server."""

MOST_TRIALS = 10_000
"""Most trials of a method."""
