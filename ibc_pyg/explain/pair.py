"""Parts of two pictures that make them alike."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ibc_pyg.data.images.pictures import Picture
from ibc_pyg.inference.embedder import Embedder
from ibc_pyg.nn.backbones.pooling import CellPooling

EXACT = "The cosine splits exactly over the cells: the descriptor is a linear function of the map."
POOLED = (
    "Approximate: each channel counts where the pooling takes it from. Without such a cell another "
    "one would take its place."
)
GRADIENT = (
    "Approximate: a normalisation follows the map, so each cell has its share by the gradient."
)
COVERED = (
    "Approximate: each cell has the loss of similarity when it is covered by the mean of the "
    "picture. The network has no map before its last layer that could be split."
)
_COVERED_GRID = 8
_BATCH = 32

Map = npt.NDArray[np.float64]
Tail = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class PairExplanation:
    """Similarity of two pictures and its division over their cells.

    Attributes:
        cosine: Similarity of the descriptors.
        maps: Contributions of the cells of each picture, float64 `[h, w]`. Each sums to the cosine
            unless the cells were covered.
        exact: Whether the division is exact.
        method: Sentence about the division.
        pixels: Each picture as the network sees it, uint8 `[S, S, C]`.
    """

    cosine: float
    maps: tuple[Map, Map]
    exact: bool
    method: str
    pixels: tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]


def explain_pair(embedder: Embedder, first: Picture, second: Picture) -> PairExplanation:
    r"""Divide the similarity of two pictures over the cells of the last feature map.

    With average pooling and a linear layer, :math:`z = W \frac{1}{n} \sum_c f_c + b`, so that

    .. math::
        \cos(z_1, z_2) = \sum_c \frac{(W f_{1,c} + b)^\top z_2}{n |z_1| |z_2|} .

    For other poolings the gradient takes the place of :math:`W / n`; the sum is the cosine too for
    pooling that is homogeneous, such as the maximum. Networks without such a map, such as vision
    transformers, are explained by covering parts of the pictures.

    Args:
        embedder: The model.
        first: A picture.
        second: A picture.

    Raises:
        DatasetError: If a picture cannot be decoded.
    """
    pixels = torch.cat([embedder.prepare(first), embedder.prepare(second)])  # [2, S, S, C]
    images = embedder.transform.normalise(pixels.to(embedder.device))  # [2, C, S, S]
    seen = pixels.numpy()
    with torch.no_grad():
        found = _map_and_tail(embedder.backbone, images)
    if found is None:
        cosine, maps = _covered(embedder.backbone, images)
        return PairExplanation(cosine, maps, False, COVERED, (seen[0], seen[1]))
    features, tail, pooled = found
    cosine, maps = _split(features, tail)
    exact = _additive(features, tail)
    method = EXACT if exact else POOLED if pooled else GRADIENT
    return PairExplanation(cosine, maps, exact, method, (seen[0], seen[1]))


def _map_and_tail(backbone: nn.Module, images: Tensor) -> tuple[Tensor, Tail, bool] | None:
    """Return the last map `[2, C, h, w]`, what follows it, and whether that is pooling alone."""
    pooling, linear = getattr(backbone, "pooling", None), getattr(backbone, "embedding", None)
    if isinstance(pooling, CellPooling) and linear is not None:
        kept: list[Tensor] = []
        hook = pooling.register_forward_pre_hook(lambda _, inputs: kept.append(inputs[0]))
        try:
            backbone(images)
        finally:
            hook.remove()
        neck = getattr(backbone, "neck", nn.Identity())
        pool, norm, last = (copy.deepcopy(each).double() for each in (pooling, neck, linear))
        # GeM computes in single precision.
        return (
            kept[0].double(),
            lambda x: last(norm(pool(x).double())),
            isinstance(neck, nn.Identity),
        )
    body: Any = getattr(backbone, "body", None)
    if pooling is None and linear is not None and hasattr(body, "forward_head"):
        if images.shape[1] == 1:
            images = images.expand(-1, 3, -1, -1)  # [2, 3, S, S]
        features = body.forward_features(images)
        channels = getattr(body, "num_features", None)
        if features.dim() == 4 and features.shape[1] == channels:
            return features, lambda x: linear(body.forward_head(x)), False
    return None


def _split(features: Tensor, tail: Tail) -> tuple[float, tuple[Map, Map]]:
    with torch.enable_grad():
        features = features.detach().requires_grad_()
        z = tail(features)  # [2, D]
        unit = F.normalize(z.detach(), dim=-1)  # [2, D]
        # The picture's own norm is a factor: only its direction matters.
        towards = unit.flip(0) / z.detach().norm(dim=-1, keepdim=True).clamp(min=1e-12)  # [2, D]
        (slope,) = torch.autograd.grad((z * towards).sum(), features)  # [2, C, h, w]
    cells = (slope * features.detach()).sum(1)  # [2, h, w]
    cosine = (unit[0] * unit[1]).sum()
    # The bias of the linear layer belongs to all cells alike.
    rest = (cosine - cells.sum((1, 2))) / cells[0].numel()  # [2]
    maps = (cells + rest[:, None, None]).double().cpu().numpy()  # [2, h, w]
    return float(cosine), (maps[0], maps[1])


@torch.no_grad()
def _additive(features: Tensor, tail: Tail) -> bool:
    """Tell whether what follows the map is linear: f(a + b) = f(a) + f(b) - f(0).

    It is asked of drawn maps: maxima of two alike pictures lie in the same cells and add up too.
    """
    generator = torch.Generator().manual_seed(0)
    drawn = torch.rand(features.shape, generator=generator, dtype=features.dtype)  # [2, C, h, w]
    drawn = drawn.to(features.device) * features.abs().max().clamp(min=1)
    a, b = drawn[:1], drawn[1:]
    both, zero = tail(a + b), tail(torch.zeros_like(a))
    apart = tail(a) + tail(b) - zero  # [1, D]
    size = float(tail(a).abs().max() + tail(b).abs().max())
    return float((both - apart).abs().max()) <= 1e-5 * max(size, 1e-12)


@torch.no_grad()
def _covered(backbone: nn.Module, images: Tensor) -> tuple[float, tuple[Map, Map]]:
    whole = F.normalize(backbone(images).double(), dim=-1)  # [2, D]
    cosine = float(whole[0] @ whole[1])
    side = images.shape[-1]
    grid = min(_COVERED_GRID, side)
    ends = [round(side * i / grid) for i in range(grid + 1)]
    maps = []
    for own in (0, 1):
        image = images[own]
        mean = image.mean((1, 2), keepdim=True)  # [C, 1, 1]
        views = []
        for top, bottom in pairwise(ends):
            for left, right in pairwise(ends):
                view = image.clone()
                view[:, top:bottom, left:right] = mean
                views.append(view)
        z = torch.cat([backbone(torch.stack(views[i : i + _BATCH])) for i in _starts(views)])
        drop = cosine - F.normalize(z.double(), dim=-1) @ whole[1 - own]  # [grid * grid]
        maps.append(drop.reshape(grid, grid).cpu().numpy())
    return cosine, (maps[0], maps[1])


def _starts(views: list[Tensor]) -> range:
    return range(0, len(views), _BATCH)
