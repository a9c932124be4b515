"""Backbones: networks from images `[B, C, H, W]` to raw embeddings `[B, D]`."""

from ibc_pyg.nn.backbones.factory import backbone_names, make_backbone
from ibc_pyg.nn.backbones.residual import SmallResNet
from ibc_pyg.nn.backbones.small import ConvNet

__all__ = ["ConvNet", "SmallResNet", "backbone_names", "make_backbone"]
