"""Variants of the attention for `--model.conv FILE.py:NAME`: a learned scale of scores, cosine."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ibc_pyg.nn.conv.intra_batch_conv import IntraBatchConv


class LearnedScale(IntraBatchConv):
    """Attention whose scores are multiplied by a learned number for each head.

    Args:
        *args: As for `IntraBatchConv`.
        scale: Initial value.
        **options: As for `IntraBatchConv`.
    """

    def __init__(self, *args: Any, scale: float = 10.0, **options: Any) -> None:
        super().__init__(*args, **options)
        self.log_scale = nn.Parameter(torch.full((self.heads, 1), math.log(scale)))

    def _dense(self, query: Tensor, key: Tensor, value: Tensor, *args: Any, **options: Any) -> Any:
        heads = query.view(*query.shape[:-1], self.heads, -1)  # [N, H, C]
        scaled = (self.directions(heads) * self.log_scale.exp()).flatten(-2)  # [N, H * C]
        key = self.directions(key.view(*key.shape[:-1], self.heads, -1)).flatten(-2)  # [N, H * C]
        return super()._dense(scaled, key, value, *args, **options)

    def directions(self, heads: Tensor) -> Tensor:
        """Return queries or keys as they are, `[N, H, C]`."""
        return heads


class CosineAttention(LearnedScale):
    """Attention by the cosine of query and key times a learned number for each head.

    The scale divides by the root of the width of a head after the product, so cosines are
    multiplied by it first.
    """

    def directions(self, heads: Tensor) -> Tensor:
        """Return queries or keys at unit norm, `[N, H, C]`, times the fourth root of the width."""
        return F.normalize(heads, dim=-1) * heads.shape[-1] ** 0.25
