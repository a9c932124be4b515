"""Nodes that messages come from, where a batch spans several processes."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ibc_pyg.parallel.collectives import gather_rows, process_rank, world_size


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
    if world_size() == 1:
        return None
    return Senders(gather_rows(x), process_rank() * x.size(0))
