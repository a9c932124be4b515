"""Neural modules: backbones, message passing, heads."""

from ibc_pyg.nn.factory import make_conv
from ibc_pyg.nn.fused import fuse
from ibc_pyg.nn.heads import BNNeckHead, LinearHead
from ibc_pyg.nn.intra_batch_conv import IntraBatchConv
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
