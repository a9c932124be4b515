"""Dense twins of PyG attention layers on the complete graph: same parameters, no edges.

The dense layers of PyG take an adjacency matrix and are fewer: ``DenseGATv2Conv`` is requested in
https://github.com/pyg-team/pytorch_geometric/issues/10722.
"""

from ibc_pyg.nn.conv.fused.fuse import fuse, why_not_fusable
from ibc_pyg.nn.conv.fused.gat_conv import CompleteGATConv
from ibc_pyg.nn.conv.fused.gatv2_conv import CompleteGATv2Conv
from ibc_pyg.nn.conv.fused.transformer_conv import CompleteTransformerConv

__all__ = [
    "CompleteGATConv",
    "CompleteGATv2Conv",
    "CompleteTransformerConv",
    "fuse",
    "why_not_fusable",
]
