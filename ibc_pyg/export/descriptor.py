"""Network from pixels to descriptors, and the preprocessing that it leaves to its caller."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ibc_pyg.data.transforms import PluggedTransform
from ibc_pyg.errors import RunError, printable
from ibc_pyg.inference.trained import Trained


class Descriptor(nn.Module):
    """Network from pixels to descriptors: normalisation of the pixels, backbone, unit norm.

    Args:
        backbone: Maps images `[B, C, H, W]` to raw embeddings `[B, D]`.
        mean: Mean of each channel, for pixels in [0, 1].
        std: Standard deviation of each channel.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, backbone: nn.Module, mean: tuple[float, ...], std: tuple[float, ...]
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1))  # [1, C, 1, 1]
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1))  # [1, C, 1, 1]

    def forward(self, pixels: Tensor) -> Tensor:
        """Map pixels in [0, 255], float32 `[B, C, H, W]`, to unit-norm float32 `[B, D]`."""
        raw = self.backbone((pixels / 255 - self.mean) / self.std)  # [B, D]
        return F.normalize(raw, dim=-1)


def descriptor_of(trained: Trained) -> Descriptor:
    """Return the network of a run, on the CPU in evaluation mode.

    Raises:
        RunError: If the normalisation of its transform is unknown.
    """
    transform = trained.transform
    if isinstance(transform, PluggedTransform):
        raise RunError(
            f"{printable(trained.run.path)} cannot be exported: the normalisation of "
            f"{transform.plug.text} is unknown; derive it from ibc_pyg.data.transforms.Transform"
        )
    return Descriptor(trained.model.backbone, transform.mean, transform.std).cpu().eval()


def example_of(trained: Trained) -> Tensor:
    """Return pixels `[2, C, S, S]`: an example with one image would fix the batch size at one."""
    t = trained.transform
    return torch.zeros(2, t.channels, t.image_size, t.image_size)


def preprocessing(trained: Trained) -> dict[str, Any]:
    """Return everything that turns the bytes of a picture into `pixels`, as JSON values."""
    t = trained.transform
    return {
        "decode": "upright by EXIF, transparent areas white, 16-bit values reduced to their high "
        "byte, RGB",
        "image_shape": None if trained.image_shape is None else list(trained.image_shape),
        "channels": t.channels,
        "resize": t.resize,
        "resize_rule": "shorter side; the longer side is rounded down",
        "interpolation": "bilinear",
        "antialias": True,
        "crop": "centre",
        "image_size": t.image_size,
        "layout": "NCHW",
        "dtype": "float32",
        "range": [0, 255],
        "normalisation": "in the network",
        "mean": list(t.mean),
        "std": list(t.std),
        "data_set": trained.config.data.name,
    }
