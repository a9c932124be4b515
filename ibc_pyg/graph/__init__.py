"""Graphs of a batch from its embeddings, as pure functions."""

from ibc_pyg.graph.complete import complete
from ibc_pyg.graph.k_reciprocal import k_reciprocal_groups
from ibc_pyg.graph.knn import knn
from ibc_pyg.graph.similarity import similarity_matrix
from ibc_pyg.graph.threshold import threshold

__all__ = ["complete", "k_reciprocal_groups", "knn", "similarity_matrix", "threshold"]
