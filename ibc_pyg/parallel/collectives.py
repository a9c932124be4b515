"""Differentiable collectives for one graph over several processes.

Each process works on an equal, contiguous share of the global batch, in rank order, and its loss
is a mean over its own rows. Gradients of gathered rows are summed over the processes in the
backward pass, so the mean of the parameter gradients over the processes is the gradient of the
mean over the global batch. With one process all functions are the identity.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch import distributed as dist


def world_size() -> int:
    """Return the number of processes; 1 without an initialised process group."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def process_rank() -> int:
    """Return the rank of this process, from 0."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def gather_rows(x: Tensor) -> Tensor:
    """Concatenate the rows of all processes, in rank order.

    Every process must call it, with a tensor of the same shape. The backward pass returns, for the
    rows of each process, the sum of the gradients of all processes; integers have no gradient.

    Args:
        x: Rows of this process, `[N, ...]`.

    Returns:
        Rows of all W processes, `[W * N, ...]`; `x` itself if W is 1.
    """
    if world_size() == 1:
        return x
    rows: Tensor = _gather(x)  # [W * N, ...]
    return rows


@torch.compiler.disable  # type: ignore[untyped-decorator]
def _gather(x: Tensor) -> Tensor:
    rows: Tensor = _GatherRows.apply(x)  # [W * N, ...]
    return rows


class _GatherRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        rows = x.new_empty(world_size() * x.size(0), *x.shape[1:])  # [W * N, ...]
        dist.all_gather(list(rows.chunk(world_size())), x.contiguous())
        return rows

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        # A reduce-scatter, which gloo lacks for some dtypes; the rows are few.
        grad = grad.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(grad)
        return grad.chunk(world_size())[process_rank()]  # [N, ...]


def mean_over_processes(values: Tensor) -> Tensor:
    """Return the mean over the processes, without gradient."""
    if world_size() == 1:
        return values
    values = values.detach().clone()
    dist.all_reduce(values)
    return values / world_size()
