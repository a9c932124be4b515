"""How many processes were started, and which of them this is; imports nothing heavy."""

from __future__ import annotations

import os
import signal
import threading
from dataclasses import dataclass

from ibc_pyg.errors import ConfigError

PATIENCE = 30.0
"""Seconds that a process which has failed waits for the first one to say why."""


@dataclass(frozen=True)
class Launch:
    """What torchrun tells each process that it starts.

    Attributes:
        world_size: Processes in all.
        rank: Number of this one, from 0; the first one writes files and speaks.
        local_size: Processes on this machine.
    """

    world_size: int = 1
    rank: int = 0
    local_size: int = 1

    @classmethod
    def from_environment(cls) -> Launch:
        """Read what torchrun sets; without torchrun there is one process."""
        if "TORCHELASTIC_RUN_ID" not in os.environ:
            return cls()
        world, rank = int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("RANK", 0))
        return cls(world, rank, int(os.environ.get("LOCAL_WORLD_SIZE", world)))

    @property
    def nodes(self) -> int:
        """Machines.

        Raises:
            ConfigError: If they have different numbers of processes.
        """
        if self.world_size % self.local_size:
            raise ConfigError(
                f"torchrun started {self.world_size} processes, {self.local_size} of them on this "
                "machine; start as many on every machine (--nproc_per_node)"
            )
        return self.world_size // self.local_size

    def should_report_error(self) -> bool:
        """Tell whether this process is the one to say why the run has failed.

        What fails in one process fails in all. The first one speaks; torchrun ends the others as
        soon as it has gone, so these wait for that. Where nothing comes, the first one does not
        know of it, and this one must speak.
        """
        if self.world_size == 1:
            return True
        ended = threading.Event()
        signal.signal(signal.SIGTERM, lambda *_: ended.set())
        return self.rank == 0 or not ended.wait(PATIENCE)
