"""Neural network modules: backbones, message passing, heads."""

from ibc_pyg.nn.conv.factory import make_conv
from ibc_pyg.nn.conv.fused import fuse
from ibc_pyg.nn.conv.intra_batch_conv import IntraBatchConv
from ibc_pyg.nn.heads import BNNeckHead, LinearHead
from ibc_pyg.nn.mpn import MPN, MPNOutput

__all__ = [
    "MPN",
    "BNNeckHead",
    "IntraBatchConv",
    "LinearHead",
    "MPNOutput",
    "fuse",
    "make_conv",
]
