"""Pairwise similarities of embeddings."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Similarity = Literal["correlation", "cosine"]


def similarity_matrix(x: Tensor, similarity: Similarity, senders: Tensor | None = None) -> Tensor:
    """Compute the similarity of every pair of embeddings.

    Args:
        x: Node embeddings, `[N, C]`.
        similarity: `cosine`, or `correlation`, the cosine of embeddings centred over their channels
            (Pearson's r). An embedding of zero norm (for `correlation`, of zero variance) has
            similarity 0 to every embedding, itself included.
        senders: Embeddings to compare `x` with, `[M, C]`; None compares `x` with itself.

    Returns:
        Similarities in [-1, 1], `[N, N]` or `[N, M]`, differentiable; float32 for 16-bit
        embeddings, also under autocast.

    Raises:
        ValueError: If the similarity is unknown, or `x` is not `[N, C]` with at least one node.
    """
    if x.dim() != 2 or x.size(0) < 1:
        raise ValueError(f"x must have shape [N, C] with at least 1 node, got {list(x.shape)}")
    if similarity not in ("correlation", "cosine"):
        raise ValueError(f"similarity must be 'correlation' or 'cosine', got {similarity!r}")
    # Rounded to 16 bits, edges near a threshold would appear and vanish.
    with torch.autocast(x.device.type, enabled=False):
        x = _unit_vectors(x, similarity)
        others = x if senders is None else _unit_vectors(senders, similarity)
        return x @ others.T  # [N, M]


def _unit_vectors(x: Tensor, similarity: Similarity) -> Tensor:
    if x.dtype in (torch.float16, torch.bfloat16):
        x = x.float()
    if similarity == "correlation":
        x = x - x.mean(dim=1, keepdim=True)
    return F.normalize(x, dim=1)
