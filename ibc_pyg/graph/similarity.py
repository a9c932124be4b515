"""How alike two embeddings are."""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from torch import Tensor

Similarity = Literal["correlation", "cosine"]


def similarity_matrix(x: Tensor, similarity: Similarity, senders: Tensor | None = None) -> Tensor:
    """Compare every embedding of a batch with every other.

    Args:
        x: node embeddings, [N, C].
        similarity: `cosine`, or `correlation`, the cosine after each embedding has been centred
            over its channels (Pearson's r). An embedding without length (or, centred, without
            variance) is similar to none, itself included.
        senders: what they are compared with instead, [M, C].

    Returns:
        Similarities in [-1, 1], differentiable, [N, N] or [N, M].

    Raises:
        ValueError: an unknown similarity, or `x` is not [N, C] with at least one node.

    """
    if x.dim() != 2 or x.size(0) < 1:
        raise ValueError(f"x must have shape [N, C] with at least 1 node, got {list(x.shape)}")
    if similarity not in ("correlation", "cosine"):
        raise ValueError(f"similarity must be 'correlation' or 'cosine', got {similarity!r}")
    x = _directions(x, similarity)
    others = x if senders is None else _directions(senders, similarity)
    return x @ others.T  # [N, M]


def _directions(x: Tensor, similarity: Similarity) -> Tensor:
    if similarity == "correlation":
        x = x - x.mean(dim=1, keepdim=True)
    return F.normalize(x, dim=1)
