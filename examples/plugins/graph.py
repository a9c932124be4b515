"""A graph over the images of a batch."""

import torch
from torch import Tensor


def most_similar(x: Tensor, share: float = 0.3) -> Tensor:
    """Connect the most similar pairs of nodes `[N, D]`, and each node with itself."""
    similarity = x.detach() @ x.detach().T  # [N, N]
    near = similarity >= torch.quantile(similarity, 1 - share)
    near.fill_diagonal_(True)
    return near.nonzero().T.contiguous()  # [2, E], source first
