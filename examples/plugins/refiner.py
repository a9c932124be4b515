"""Refiners: neighbours for message passing, or the refined descriptors themselves."""

import torch
from torch import Tensor


def nearest(descriptors: Tensor, size: int, gallery: Tensor | None = None) -> Tensor:
    """Return the nearest neighbours of each descriptor, int64 `[N, size - 1]`."""
    similarity = descriptors @ (descriptors if gallery is None else gallery).T  # [N, M]
    if gallery is None:
        similarity.fill_diagonal_(-torch.inf)
    return similarity.topk(size - 1).indices


def query_expansion(descriptors: Tensor, size: int, gallery: Tensor | None = None) -> Tensor:
    """Return the mean of each descriptor and its neighbours, float32 `[N, D]`."""
    pool = descriptors if gallery is None else gallery
    near = nearest(descriptors, size, gallery)
    return (descriptors + pool[near].sum(1)) / size
