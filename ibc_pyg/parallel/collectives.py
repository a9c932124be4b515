"""What one graph over several processes is made of: rows of all processes, with gradients.

Each process works on an equal, contiguous share of the global batch, in rank order, and its loss
is a mean over its own rows. Gradients that flow to gathered rows are summed over the processes on
their way back, so the mean of everybody's parameter gradients is the gradient of the mean over the
global batch. With one process everything here is the identity.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch import distributed as dist


def num_processes() -> int:
    """Return how many processes work together; 1 where none were set up to."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def process_number() -> int:
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
    if num_processes() == 1:
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
        rows = x.new_empty(num_processes() * x.size(0), *x.shape[1:])  # [W * N, ...]
        dist.all_gather(list(rows.chunk(num_processes())), x.contiguous())
        return rows

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        # A reduce-scatter; the rows are few, and gloo has none for every type.
        grad = grad.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(grad)
        return grad.chunk(num_processes())[process_number()]  # [N, ...]


@dataclass(frozen=True)
class Senders:
    """The nodes that messages come from, where they are more than those that receive.

    Attributes:
        x: nodes of all processes, [M, C].
        first: which of them the first receiver is; the receivers are consecutive.

    """

    x: Tensor
    first: int

    @property
    def num_nodes(self) -> int:
        """M."""
        return self.x.size(0)


def senders_of(x: Tensor) -> Senders | None:
    """Gather the nodes that the nodes of this process can listen to.

    Args:
        x: nodes of this process, [N, C].

    Returns:
        Everybody's nodes; None where there is one process and they are `x`.

    """
    if num_processes() == 1:
        return None
    return Senders(gather_rows(x), process_number() * x.size(0))


@contextmanager
def draws_of_first(device: torch.device) -> Iterator[None]:
    """Let what every process draws in the block be what the first one draws.

    For work that all do alike, on rows that all have; outside of it each has draws of its own.
    """
    if num_processes() == 1:
        yield
        return
    own = _random_states(device)
    shared = []
    for state in own:
        sent = state.to(device)
        dist.broadcast(sent, 0)
        shared.append(sent.cpu())
    _set_random_states(device, shared)
    try:
        yield
    finally:
        if process_number() != 0:
            _set_random_states(device, own)


def _random_states(device: torch.device) -> list[Tensor]:
    states = [torch.get_rng_state()]
    return [*states, torch.cuda.get_rng_state(device)] if device.type == "cuda" else states


def _set_random_states(device: torch.device, states: list[Tensor]) -> None:
    torch.set_rng_state(states[0])
    if device.type == "cuda":
        torch.cuda.set_rng_state(states[1], device)


def mean_over_processes(values: Tensor) -> Tensor:
    """Return the mean over the processes, without gradient; `values` itself where there is one."""
    if num_processes() == 1:
        return values
    values = values.detach().clone()
    dist.all_reduce(values)
    return values / num_processes()
