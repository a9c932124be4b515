"""Observation of a training: statistics, attention, throughput."""
