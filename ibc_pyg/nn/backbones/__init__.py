"""Backbones: networks that turn images `[B, C, H, W]` into raw embeddings `[B, D]`."""

from ibc_pyg.nn.backbones.factory import backbone_names, make_backbone
from ibc_pyg.nn.backbones.residual import SmallResNet
from ibc_pyg.nn.backbones.small import ConvNet

__all__ = ["ConvNet", "SmallResNet", "backbone_names", "make_backbone"]
