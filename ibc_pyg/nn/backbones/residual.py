"""Residual networks for images of about 28 to 64 pixels."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from ibc_pyg.nn.backbones.pooling import Pooling, make_pooling
from ibc_pyg.nn.backbones.small import conv_bn_relu
from ibc_pyg.nn.checks import check_at_least


class ResidualBlock(nn.Module):
    """Two convolutions and a shortcut, the basic block of ResNet (https://arxiv.org/abs/1512.03385).

    If the block changes the size, the shortcut averages 2 x 2 pixels and projects, as in ResNet-D
    (https://arxiv.org/abs/1812.01187).

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        stride: 1, or 2 to halve the map.

    Shapes:
        - **input:** :math:`(B, C_{in}, H, W)`
        - **output:** :math:`(B, C_{out}, H / stride, W / stride)`, rounded up
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()
        self.first = conv_bn_relu(in_channels, out_channels, stride=stride)
        self.second = nn.Sequential(
            nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(out_channels),
        )
        shortcut: list[nn.Module] = []
        if stride > 1:
            shortcut.append(nn.AvgPool2d(stride, ceil_mode=True))
        if stride > 1 or in_channels != out_channels:
            shortcut.append(nn.Conv2d(in_channels, out_channels, 1, bias=False))
            shortcut.append(nn.BatchNorm2d(out_channels))
        self.shortcut = nn.Sequential(*shortcut)

    def forward(self, x: Tensor) -> Tensor:
        """Map `[B, C_in, H, W]` to `[B, C_out, H / stride, W / stride]`."""
        return F.relu(self.second(self.first(x)) + self.shortcut(x), inplace=True)


class SmallResNet(nn.Module):
    """A stem that halves the image, stages of residual blocks, pooling, a linear layer.

    Args:
        in_channels: Colour channels of the images.
        embedding_dim: Width D of an embedding.
        width: Channels of the stem.
        widths: Channels of each stage; all but the first halve the map.
        blocks: Residual blocks of each stage, or one number for all.
        kernel_size: Kernel size of the stem; odd.
        stem_stride: Stride of the stem.
        pooling: Pooling of the last map: 'max', 'avg' or 'gem'.
        grid: The last map is pooled in `grid * grid` cells; with more than one, the embedding
            depends on positions in the image.

    Shapes:
        - **input:** images :math:`(B, C, H, W)`
        - **output:** raw embeddings :math:`(B, D)`

    Raises:
        ValueError: If a size is out of range, or `blocks` and `widths` differ in length.
    """

    def __init__(
        self,
        in_channels: int = 1,
        embedding_dim: int = 128,
        *,
        width: int = 64,
        widths: Sequence[int] = (64, 128),
        blocks: int | Sequence[int] = 1,
        kernel_size: int = 5,
        stem_stride: int = 2,
        pooling: Pooling = "max",
        grid: int = 1,
    ) -> None:
        super().__init__()
        depths = [blocks] * len(widths) if isinstance(blocks, int) else list(blocks)
        check_at_least(1, in_channels=in_channels, embedding_dim=embedding_dim, width=width)
        if not widths or min(widths) < 1:
            raise ValueError(f"widths must be one or more numbers >= 1, not {list(widths)}")
        if len(depths) != len(widths) or min(depths) < 1:
            raise ValueError(f"blocks must be a number >= 1 for each of {list(widths)}: {depths}")
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise ValueError(f"kernel_size must be odd and at least 1, not {kernel_size}")
        if stem_stride not in (1, 2):
            raise ValueError(f"stem_stride must be 1 or 2, not {stem_stride}")
        self.stem = conv_bn_relu(in_channels, width, stride=stem_stride, kernel_size=kernel_size)
        layers: list[nn.Module] = []
        before = width
        for stage, (after, depth) in enumerate(zip(widths, depths, strict=True)):
            for index in range(depth):
                halves = stage > 0 and index == 0
                layers.append(ResidualBlock(before, after, stride=2 if halves else 1))
                before = after
        self.stages = nn.Sequential(*layers)
        self.pooling = make_pooling(pooling, grid)
        self.embedding = nn.Linear(before * grid * grid, embedding_dim)

    def forward(self, images: Tensor) -> Tensor:
        """Map images `[B, C, H, W]` to raw embeddings `[B, D]`."""
        features = self.stages(self.stem(images))  # [B, widths[-1], h, w]
        vectors = self.pooling(features)  # [B, widths[-1] * grid * grid]
        embeddings: Tensor = self.embedding(vectors)  # [B, D]
        return embeddings
