"""Antialiased scaling of crops of different sizes as two products with weight matrices."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ibc_pyg.graph.products import plain_float32


def padded(crops: Sequence[Tensor]) -> Tensor:
    """Join crops `[b, h, w, C]` of different sizes, with zeros, to `[B, H, W, C]`."""
    height, width = (max(crop.shape[axis] for crop in crops) for axis in (1, 2))
    out = crops[0].new_zeros(
        sum(map(len, crops)), height, width, crops[0].shape[-1]
    )  # [B, H, W, C]
    first = 0
    for crop in crops:
        out[first : first + len(crop), : crop.shape[1], : crop.shape[2]] = crop
        first += len(crop)
    return out


def resize_crops(crops: Tensor, sizes: Tensor, flips: Tensor, size: int) -> Tensor:
    """Scale each crop to a square, bilinearly with antialiasing, and mirror some.

    The filter is that of `interpolate(mode="bilinear", antialias=True)`. Its kernel for 8-bit
    pixels rounds after each axis; here it is done once, so that grey levels differ by at most 1.

    Args:
        crops: uint8 `[B, H, W, C]`, on any device; values beyond a crop's size are not read.
        sizes: Height and width of each crop, at least 1, int64 `[B, 2]`, on the same device.
        flips: Which crops to mirror left to right, bool `[B]`, on the same device.
        size: Height and width S of the result.

    Returns:
        uint8 `[B, S, S, C]`.
    """
    B, H, W, C = crops.shape
    down = _weights(sizes[:, 0], H, size)  # [B, S, H]
    across = _weights(sizes[:, 1], W, size)  # [B, S, W]
    across = torch.where(flips[:, None, None], across.flip(1), across)
    with plain_float32():
        rows = down @ crops.float().view(B, H, W * C)  # [B, S, W * C]
        rows = rows.view(B, size, W, C).transpose(1, 2).reshape(B, W, size * C)
        out = (across @ rows).view(B, size, size, C)  # columns first
    levels = out.transpose(1, 2).round_().clamp_(0, 255)  # [B, S, S, C]
    return levels.to(torch.uint8, memory_format=torch.contiguous_format)


def _weights(lengths: Tensor, longest: int, size: int) -> Tensor:
    """Return the weight of each input pixel in each output pixel, float32 `[B, S, longest]`."""
    scale = (lengths.float() / size)[:, None, None]  # [B, 1, 1]
    output = torch.arange(size, device=lengths.device).view(1, -1, 1)  # [1, S, 1]
    pixel = torch.arange(longest, device=lengths.device)  # [longest]
    distance = (pixel + 0.5 - (output + 0.5) * scale) / scale.clamp(min=1)  # [B, S, longest]
    weight = F.relu(1 - distance.abs()) * (pixel < lengths[:, None, None])
    return weight / weight.sum(-1, keepdim=True)
