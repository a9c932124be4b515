"""What a published network expects of images, and what is asked of it."""

from __future__ import annotations

from torch import Tensor

from ibc_pyg.errors import ConfigError


def as_three_channels(images: Tensor) -> Tensor:
    """Show grey images `[B, 1, H, W]` to three channels; others stay: `[B, 3, H, W]`."""
    return images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images  # [B, 3, H, W]


def check_ends(in_channels: int, embedding_dim: int) -> None:
    """Refuse colour channels and widths that no published network can be given.

    Raises:
        ValueError: If one is out of range.

    """
    if in_channels not in (1, 3):
        raise ValueError(f"in_channels must be 1 or 3, not {in_channels}")
    if embedding_dim < 1:
        raise ValueError(f"embedding_dim must be at least 1, not {embedding_dim}")


def check_image_size(images: Tensor, size: tuple[int, int] | None) -> None:
    """Refuse images that a network with a fixed input size cannot read.

    Args:
        images: `[B, C, H, W]`.
        size: Height and width that the network needs; None if it takes any.

    Raises:
        ConfigError: If they differ.

    """
    if size is not None and images.shape[-2:] != size:
        height, width = images.shape[-2:]
        raise ConfigError(
            f"model.backbone reads images of {size[0]} x {size[1]} pixels, not {height} x {width}; "
            "set data.transform_args.image_size, or the size in model.backbone_args (img_size for "
            "timm, image_size for torchvision)"
        )
