"""Small convolutional networks for images of about 28 to 64 pixels."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from ibc_pyg.nn.backbones.pooling import Pooling, make_pooling
from ibc_pyg.nn.checks import check_at_least


class ConvNet(nn.Module):
    """Convolutions with batch normalisation, ReLU and pooling, then a linear layer.

    Each convolution halves the image. With `depth=4` and `width=64` it is the Conv-4 of few-shot
    learning (https://arxiv.org/abs/1703.05175), with a linear layer on top.

    Args:
        in_channels: Colour channels of the images.
        embedding_dim: Width D of an embedding.
        width: Channels of every convolution.
        depth: Number of convolutions.
        widths: Channels of each convolution; replaces `width` and `depth`.
        stem_stride: Stride of the first convolution. With 2 no pooling follows it, and the network
            is about twice as fast.
        pooling: Pooling of the last map: 'max', 'avg' or 'gem'.
        grid: The last map is pooled in `grid * grid` cells; with more than one, the embedding
            depends on positions in the image.

    Shapes:
        - **input:** images :math:`(B, C, H, W)`
        - **output:** raw embeddings :math:`(B, D)`

    Raises:
        ValueError: If a size is below 1, or `widths` is empty.
    """

    def __init__(
        self,
        in_channels: int = 1,
        embedding_dim: int = 128,
        width: int = 64,
        depth: int = 4,
        *,
        widths: Sequence[int] | None = None,
        stem_stride: int = 1,
        pooling: Pooling = "max",
        grid: int = 1,
    ) -> None:
        super().__init__()
        sizes = list(widths) if widths is not None else [width] * depth
        if not sizes or min(sizes) < 1:
            raise ValueError(f"widths must be one or more numbers >= 1, not {sizes}")
        check_at_least(1, in_channels=in_channels, embedding_dim=embedding_dim)
        if stem_stride not in (1, 2):
            raise ValueError(f"stem_stride must be 1 or 2, not {stem_stride}")
        blocks: list[nn.Module] = []
        for index, (before, after) in enumerate(zip([in_channels, *sizes], sizes, strict=False)):
            strided = index == 0 and stem_stride == 2
            blocks.append(conv_bn_relu(before, after, stride=2 if strided else 1))
            if not strided:
                blocks.append(nn.MaxPool2d(2, ceil_mode=True))
        self.features = nn.Sequential(*blocks)
        self.pooling = make_pooling(pooling, grid)
        self.embedding = nn.Linear(sizes[-1] * grid * grid, embedding_dim)

    def forward(self, images: Tensor) -> Tensor:
        """Map images `[B, C, H, W]` to raw embeddings `[B, D]`."""
        features = self.features(images)  # [B, width, h, w]
        vectors = self.pooling(features)  # [B, width * grid * grid]
        embeddings: Tensor = self.embedding(vectors)  # [B, D]
        return embeddings


def conv_bn_relu(
    in_channels: int, out_channels: int, *, stride: int = 1, kernel_size: int = 3
) -> nn.Sequential:
    """Return a padded convolution without bias, batch normalisation and ReLU."""
    return nn.Sequential(
        nn.Conv2d(
            in_channels,
            out_channels,
            kernel_size,
            stride=stride,
            padding=kernel_size // 2,
            bias=False,
        ),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    )
