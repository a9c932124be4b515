"""Exact neighbours, retrieval and clustering metrics: pure functions of arrays."""

from ibc_pyg.metrics.clustering import clustering_metrics as clustering_metrics
from ibc_pyg.metrics.lists import list_metrics as list_metrics
from ibc_pyg.metrics.neighbours import Neighbours as Neighbours
from ibc_pyg.metrics.neighbours import nearest_neighbours as nearest_neighbours
from ibc_pyg.metrics.protocols import PROTOCOLS as PROTOCOLS
from ibc_pyg.metrics.protocols import Protocol as Protocol
from ibc_pyg.metrics.protocols import protocol_for as protocol_for
from ibc_pyg.metrics.rerank import k_reciprocal_rerank as k_reciprocal_rerank
from ibc_pyg.metrics.retrieval import retrieval_metrics as retrieval_metrics
