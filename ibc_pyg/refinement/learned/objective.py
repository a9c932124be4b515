"""Loss on refined descriptors: supervised contrastive, and neighbourhood components."""

from __future__ import annotations

import torch
from torch import Tensor


def refinement_loss(
    vectors: Tensor, labels: Tensor, *, temperature: float, first_hit: float
) -> Tensor:
    """Compute the loss of descriptors that are queries and gallery of each other.

    With p(j | i) the softmax over all others of cosine / temperature, it is the mean over the
    queries of `-mean_j log p(j | i) - first_hit * log sum_j p(j | i)`, j of the class of i: the
    supervised contrastive loss (Khosla et al. 2020, https://arxiv.org/abs/2004.11362), which asks
    for all hits, and that of neighbourhood components (Goldberger et al. 2004), which one near hit
    satisfies. Queries without another of their class do not count.

    Args:
        vectors: Unit-norm float32 `[N, D]`.
        labels: Classes, int64 `[N]`.
        temperature: Above zero.
        first_hit: Weight of the second part.

    Returns:
        Scalar; zero if no query has a match.
    """
    itself = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    logits = (vectors @ vectors.T / temperature).masked_fill(itself, -torch.inf)  # [N, N]
    log_p = logits.log_softmax(1).masked_fill(itself, 0)  # [N, N]
    same = (labels[:, None] == labels) & ~itself  # [N, N]
    matches = same.sum(1)  # [N]
    kept = matches > 0
    if not bool(kept.any()):
        return vectors.sum() * 0
    every = (log_p * same).sum(1)[kept] / matches[kept]  # [n]
    first = log_p.masked_fill(~same, -torch.inf)[kept].logsumexp(1)  # [n]
    return -(every + first_hit * first).mean()
