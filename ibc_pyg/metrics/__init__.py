"""Exact neighbours, retrieval and clustering metrics: pure functions of arrays."""

from ibc_pyg.metrics.clustering import clustering_metrics as clustering_metrics
from ibc_pyg.metrics.retrieval import retrieval_metrics as retrieval_metrics
