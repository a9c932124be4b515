"""Exact nearest-neighbour search over descriptors."""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from ibc_pyg.metrics import nearest_neighbours


@dataclass(frozen=True)
class Neighbour:
    """Nearest item of a query.

    Attributes:
        item: Row of the item in the index, from 0.
        similarity: Cosine, in [-1, 1].
    """

    item: int
    similarity: float


class SearchIndex:
    """Exact cosine search over descriptors.

    Args:
        vectors: Float32 `[M, D]`; they are scaled to unit norm.
    """

    def __init__(self, vectors: Tensor) -> None:
        self.vectors = F.normalize(vectors, dim=-1)  # [M, D]

    def __len__(self) -> int:
        """Return the number of items M."""
        return len(self.vectors)

    def search(self, queries: Tensor, k: int) -> list[list[Neighbour]]:
        """Return the nearest items of each query, most similar first.

        Args:
            queries: Float32 `[Q, D]`.
            k: Number of items, >= 1; all items if there are fewer.
        """
        found = nearest_neighbours(queries, self.vectors, k=min(k, len(self)))
        return [
            [Neighbour(int(item), float(score)) for item, score in zip(items, scores, strict=True)]
            for items, scores in zip(found.indices, found.scores, strict=True)
        ]
