"""World size and rank of this process as torchrun sets them; imports no torch."""

from __future__ import annotations

import os
import signal
import threading
from dataclasses import dataclass

from ibc_pyg.errors import ConfigError

PATIENCE = 30.0
"""Seconds that a failed process waits for the main process to report the error."""


@dataclass(frozen=True)
class Launch:
    """The environment that torchrun gives each process.

    Attributes:
        world_size: Number of processes.
        rank: Rank of this process, from 0; the main process, rank 0, writes files and prints.
        local_size: Number of processes on this node.
    """

    world_size: int = 1
    rank: int = 0
    local_size: int = 1

    @classmethod
    def from_environment(cls) -> Launch:
        """Read the environment; without torchrun there is one process."""
        if "TORCHELASTIC_RUN_ID" not in os.environ:
            return cls()
        world, rank = int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("RANK", 0))
        return cls(world, rank, int(os.environ.get("LOCAL_WORLD_SIZE", world)))

    @property
    def nodes(self) -> int:
        """Number of nodes.

        Raises:
            ConfigError: If nodes have different numbers of processes.
        """
        if self.world_size % self.local_size:
            raise ConfigError(
                f"torchrun started {self.world_size} processes, {self.local_size} of them on this "
                "node; start the same number on every node (--nproc_per_node)"
            )
        return self.world_size // self.local_size

    def should_report_error(self) -> bool:
        """Tell whether this process reports the error of a failed run.

        An error in one process is raised in all. The main process reports it, and torchrun ends the
        others after it, so these wait for SIGTERM. If it does not come in time, the main process
        does not know of the error, and this process reports it.
        """
        if self.world_size == 1:
            return True
        ended = threading.Event()
        signal.signal(signal.SIGTERM, lambda *_: ended.set())
        return self.rank == 0 or not ended.wait(PATIENCE)
