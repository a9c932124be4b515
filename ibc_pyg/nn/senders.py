"""Source nodes of messages, where a batch spans several processes."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ibc_pyg.parallel.collectives import gather_with_first, world_size


@dataclass(frozen=True)
class Senders:
    """Source nodes of a process, whose own nodes are consecutive rows of them.

    Attributes:
        x: Nodes of all processes, `[M, C]`.
        first: Index of the first node of this process.
    """

    x: Tensor
    first: int

    @property
    def num_nodes(self) -> int:
        """Number M of source nodes."""
        return self.x.size(0)


def senders_of(x: Tensor) -> Senders | None:
    """Gather the source nodes of the nodes of this process.

    Args:
        x: Nodes of this process, `[N, C]`.

    Returns:
        The nodes of all processes; None with one process, where they are `x`.
    """
    if world_size() == 1:
        return None
    return Senders(*gather_with_first(x))
