"""Global pooling of feature maps to vectors."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ibc_pyg.nn.checks import check_at_least

Pooling = Literal["max", "avg", "gem"]


class GeM(nn.Module):
    r"""Generalised mean over the positions of a map, with one learned power `p`.

    .. math::
        y_c = \left( \frac{1}{|\Omega|} \sum_{u \in \Omega} \max(x_{c,u}, \epsilon)^p
        \right)^{1/p}

    From "Fine-tuning CNN Image Retrieval with No Human Annotation"
    (https://arxiv.org/abs/1711.02512). It is the average for p = 1 and tends to the maximum.

    Args:
        grid: The map is pooled in `grid * grid` cells.
        p: Initial power.
        eps: Lower bound of the map's values, which should be non-negative.
    """

    def __init__(self, grid: int = 1, p: float = 3.0, eps: float = 1e-6) -> None:
        super().__init__()
        self.grid = grid
        self.eps = eps
        self.p = nn.Parameter(torch.tensor(float(p)))

    def forward(self, x: Tensor) -> Tensor:
        """Pool `[B, C, H, W]` to float32 `[B, C, grid, grid]`."""
        powers = x.float().clamp(min=self.eps) ** self.p  # [B, C, H, W]
        result: Tensor = F.adaptive_avg_pool2d(powers, self.grid) ** (1 / self.p)  # [B, C, g, g]
        return result


class GlobalMax(nn.Module):
    """Maximum over the positions of a map.

    Values and gradients are those of `nn.AdaptiveMaxPool2d(1)`, for which ONNX has no operator in
    torch 2.11.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Pool `[B, C, H, W]` to `[B, C, 1, 1]`."""
        return F.max_pool2d(x, x.shape[-2:])  # [B, C, 1, 1]


def make_pooling(name: str, grid: int = 1) -> nn.Module:
    """Return a module that pools `[B, C, H, W]` to `[B, C * grid * grid]`.

    Args:
        name: 'max', 'avg' or 'gem'.
        grid: The map is pooled in `grid * grid` cells; 1 is global pooling.

    Raises:
        ValueError: If the name is unknown or `grid` is below 1.
    """
    check_at_least(1, grid=grid)
    modules: dict[str, nn.Module] = {
        "max": nn.AdaptiveMaxPool2d(grid) if grid > 1 else GlobalMax(),
        "avg": nn.AdaptiveAvgPool2d(grid),
        "gem": GeM(grid),
    }
    if name not in modules:
        raise ValueError(f"pooling must be one of {list(modules)}, not {name!r}")
    return CellPooling(modules[name], grid)


class CellPooling(nn.Module):
    """Pooling in cells, flattened to one vector per image.

    Args:
        pool: Pools `[B, C, H, W]` to `[B, C, grid, grid]`; a map of this size is not pooled.
        grid: Number of cells along a side.
    """

    def __init__(self, pool: nn.Module, grid: int) -> None:
        super().__init__()
        self.pool = pool
        self.grid = grid

    def forward(self, x: Tensor) -> Tensor:
        """Pool `[B, C, H, W]` to `[B, C * grid * grid]`."""
        cells = x if x.shape[-2:] == (self.grid, self.grid) else self.pool(x)  # [B, C, g, g]
        return cells.flatten(1)  # [B, C * grid * grid]
