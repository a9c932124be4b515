"""Fast refinement of the first node of many small graphs.

Nodes that are not read out are not updated in the last step.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from ibc_pyg.nn.conv.dense_attention import AttentionOptions, dense_attention
from ibc_pyg.nn.conv.intra_batch_conv import IntraBatchConv
from ibc_pyg.nn.conv.step import MPNStep
from ibc_pyg.nn.mpn import MPN


@dataclass(frozen=True)
class _Projected:
    """Projections of samples before the first step, each `[M, C]`, independent of the graph."""

    x: Tensor
    query: Tensor
    key: Tensor
    value: Tensor

    @classmethod
    def of(cls, mpn: MPN, vectors: Tensor) -> _Projected:
        conv = _steps(mpn)[0][1]
        x = mpn.first_linear(vectors)  # [M, C]
        return cls(x, conv.lin_query(x), conv.lin_key(x), conv.lin_value(x))


class FirstNodes:
    """Refinement of samples among neighbours, equal to `mpn(groups).features[-1][:, 0]`.

    Before the first step a sample is the same in every graph, so it is projected once; the last
    step updates the first node alone. With one step and graphs of seven nodes this is one seventh
    of the work.

    Args:
        mpn: Message passing network that `supports` accepts, in evaluation mode.
        vectors: Samples, `[N, D]`.
        pool: Samples that neighbours are selected from, `[M, D]`; None selects from `vectors`.
    """

    def __init__(self, mpn: MPN, vectors: Tensor, pool: Tensor | None = None) -> None:
        self._mpn = mpn
        self._own = _Projected.of(mpn, vectors)
        self._pool = self._own if pool is None else _Projected.of(mpn, pool)

    @staticmethod
    def supports(mpn: MPN) -> bool:
        """Return whether all graph layers are `IntraBatchConv`."""
        return len(mpn.steps) > 0 and all(isinstance(s.conv, IntraBatchConv) for s in mpn.steps)

    def __call__(self, rows: Tensor, others: Tensor) -> Tensor:
        """Refine samples.

        Args:
            rows: Rows of the samples, int64 `[B]`.
            others: Rows of their neighbours in the pool, int64 `[B, S - 1]`.

        Returns:
            Refined samples `[B, D']` of the last step, or concatenated over all steps.
        """

        def gathered(own: Tensor, pool: Tensor) -> Tensor:
            return torch.cat([own[rows, None], pool[others]], dim=1)  # [B, S, C]

        mpn, own, pool = self._mpn, self._own, self._pool
        last = len(mpn.steps) - 1
        key, value = gathered(own.key, pool.key), gathered(own.value, pool.value)
        if last == 0:
            x, query = own.x[rows, None], own.query[rows, None]  # [B, 1, C]
        else:
            x, query = gathered(own.x, pool.x), gathered(own.query, pool.query)  # [B, S, C]
        first = []
        for number, (step, conv) in enumerate(_steps(mpn)):
            if number > 0:
                key, value = conv.lin_key(x), conv.lin_value(x)  # [B, S, C]
                if number == last:
                    x = x[:, :1]  # [B, 1, C]
                query = conv.lin_query(x)
            x = _update(step, x, conv.lin_out(_attend(conv, query, key, value)))
            first.append(x[:, 0])
        return torch.cat(first, dim=-1) if mpn.config.concatenate else first[-1]


def _steps(mpn: MPN) -> list[tuple[MPNStep, IntraBatchConv]]:
    steps = [cast("MPNStep", step) for step in mpn.steps]
    return [(step, cast("IntraBatchConv", step.conv)) for step in steps]


def _attend(conv: IntraBatchConv, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Attend with the first n nodes, `[B, n, C]`, to all nodes, `[B, S, C]`."""
    B, _, C = key.shape
    query, key, value = (
        t.view(B, -1, conv.heads, C // conv.heads).transpose(1, 2)  # [B, H, n, C / H]
        for t in (query, key, value)
    )
    options = AttentionOptions(null_node=conv.null_node, self_loops=conv.self_loops)
    out, _ = dense_attention(query, key, value, options)
    return out.transpose(1, 2).flatten(2)  # [B, n, C]


def _update(step: MPNStep, x: Tensor, update: Tensor) -> Tensor:
    """Apply the rest of a step, as `MPNStep.forward` in evaluation mode."""
    x = step.norm_conv(x + update if step.residual_conv else update)
    update = step.mlp(x)
    out: Tensor = step.norm_mlp(x + update if step.residual_mlp else update)
    return out
