"""Differentiable collectives for one graph over several processes.

Each process works on a contiguous share of the global batch, in rank order. The shares may differ
in size: the loss of a process is the mean over its own rows, times `share_weight`. Gradients of
gathered rows are summed over the processes in the backward pass, so the mean of the parameter
gradients over the processes is the gradient of the mean over the global batch. With one process
all functions are the identity.
"""

from __future__ import annotations

import functools
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor
from torch import distributed as dist

# The main process may score millions of images while the others wait.
_PATIENCE = timedelta(days=2)


def world_size() -> int:
    """Return the number of processes; 1 without an initialised process group."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def process_rank() -> int:
    """Return the rank of this process, from 0."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


@functools.lru_cache(maxsize=1)
def control_group() -> dist.ProcessGroup:
    """Return the gloo group for CPU tensors, created at first use.

    All processes must make the first call at the same point.
    """
    group = dist.new_group(backend="gloo", timeout=_PATIENCE)
    assert isinstance(group, dist.ProcessGroup)
    return group


def gather_rows(x: Tensor) -> Tensor:
    """Concatenate the rows of all processes, in rank order.

    Every process must call it, with tensors that differ at most in their number of rows. The
    backward pass returns, for the rows of each process, the sum of the gradients of all processes;
    integers have no gradient.

    Args:
        x: Rows of this process, `[N, ...]`.

    Returns:
        Rows of all processes, `[M, ...]`; `x` itself with one process.
    """
    return gather_with_first(x)[0]


def gather_with_first(x: Tensor) -> tuple[Tensor, int]:
    """Return the rows of all processes, as `gather_rows`, and the index of the first own one."""
    if world_size() == 1:
        return x, 0
    rows, first = _gather(x)  # [M, ...]
    return rows, first


@torch.compiler.disable  # type: ignore[untyped-decorator]
def share_weight(own: int) -> float:
    """Return the factor of the loss of this process, whose mean over the processes is 1.

    Args:
        own: Number of rows of this process; every process must call it.
    """
    counts = _row_counts(own)
    return own * len(counts) / sum(counts)


def _row_counts(own: int) -> list[int]:
    """Return the number of rows of each process."""
    if world_size() == 1:
        return [own]
    # On the CPU: a GPU would have to be waited for.
    counts = [torch.empty(1, dtype=torch.int64) for _ in range(world_size())]
    dist.all_gather(counts, torch.tensor([own]), group=control_group())
    return [int(count) for count in counts]


@torch.compiler.disable  # type: ignore[untyped-decorator]
def _gather(x: Tensor) -> tuple[Tensor, int]:
    counts = _row_counts(x.size(0))
    rows: Tensor = _GatherRows.apply(x, counts)  # [M, ...]
    return rows, sum(counts[: process_rank()])


class _GatherRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, counts: list[int]) -> Tensor:
        ctx.counts = counts
        most = max(counts)
        # all_gather needs equal sizes: rows are padded, and the padding is removed.
        sent = x.contiguous()
        if x.size(0) < most:
            sent = torch.cat([x, x.new_zeros(most - x.size(0), *x.shape[1:])])  # [most, ...]
        rows = x.new_empty(len(counts) * most, *x.shape[1:])  # [W * most, ...]
        parts = list(torch.split(rows, most))
        dist.all_gather(parts, sent)
        if min(counts) == most:
            return rows
        return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        # A reduce-scatter, which gloo lacks for some dtypes; the rows are few.
        grad = grad.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(grad)
        return torch.split(grad, ctx.counts)[process_rank()], None  # [N, ...]


def mean_over_processes(values: Tensor) -> Tensor:
    """Return the mean over the processes, without gradient."""
    if world_size() == 1:
        return values
    values = values.detach().clone()
    dist.all_reduce(values)
    return values / world_size()
