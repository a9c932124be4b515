"""Exact neighbours, retrieval and clustering metrics: pure functions of arrays."""
