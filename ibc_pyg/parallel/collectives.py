"""What one graph over several processes is made of: rows of all processes, with gradients.

Each process works on an equal, contiguous share of the global batch, in rank order, and its loss
is a mean over its own rows. Gradients that flow to gathered rows are summed over the processes on
their way back, so the mean of everybody's parameter gradients is the gradient of the mean over the
global batch. With one process everything here is the identity.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch import distributed as dist


def world_size() -> int:
    """Return how many processes work together; 1 where none were set up to."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def process_rank() -> int:
    """Return the rank of this process, from 0."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def gather_rows(x: Tensor) -> Tensor:
    """Join the rows of all processes, in rank order.

    Every process must call it, with a tensor of the same shape. The backward pass gives each
    process the sum of what all processes found for its rows; integers have none.

    Args:
        x: rows of this process, [N, ...].

    Returns:
        Rows of all W processes, [W * N, ...]; `x` itself where there is one process.

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
        # A reduce-scatter; the rows are few, and gloo has none for every type.
        grad = grad.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(grad)
        return grad.chunk(world_size())[process_rank()]  # [N, ...]


def mean_over_processes(values: Tensor) -> Tensor:
    """Return the mean over the processes, without gradient; `values` itself where there is one."""
    if world_size() == 1:
        return values
    values = values.detach().clone()
    dist.all_reduce(values)
    return values / world_size()
