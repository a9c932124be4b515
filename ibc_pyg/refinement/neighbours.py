"""Neighbours of descriptors for refinement: fewer where there are fewer, never the item itself."""

from __future__ import annotations

import torch
from torch import Tensor

from ibc_pyg.metrics import Neighbours, nearest_neighbours
from ibc_pyg.metrics.inputs import Array, as_embeddings, inverse_norms


def unit(x: Array, name: str = "descriptors") -> Tensor:
    """Return descriptors at unit norm, float32 `[N, D]` on the CPU; a zero vector stays.

    Raises:
        ValueError: If values are not finite or the shape is another one.
    """
    wide = as_embeddings(x, name, device="cpu").double()  # [N, D]
    return (wide * inverse_norms(wide)).float()


def neighbours(x: Tensor, gallery: Tensor | None, k: int, *, same: bool = False) -> Neighbours:
    """Find the most similar gallery items of each descriptor, exactly.

    Args:
        x: Float32 `[N, D]`.
        gallery: Float32 `[M, D]`; None searches `x` without each item itself.
        k: Neighbours; all there are if there are fewer.
        same: Whether row i of the gallery is item i in another form, which is left out.

    Returns:
        Indices int64 and cosines float32, `[N, min(k, available)]` each.
    """
    available = len(x) - 1 if gallery is None else len(gallery) - same
    k = min(k, available)
    if k <= 0:
        return Neighbours(torch.empty(len(x), 0, dtype=torch.long), torch.empty(len(x), 0))
    if not same:
        return nearest_neighbours(x, gallery, k)
    found = nearest_neighbours(x, gallery, k + 1)
    rest = found.indices != torch.arange(len(x))[:, None]  # [N, k + 1]
    # Where an item is not in its own list, the last one is surplus.
    rest[:, -1] &= ~rest[:, :-1].all(1)
    return Neighbours(found.indices[rest].view(len(x), k), found.scores[rest].view(len(x), k))
