"""The share of a job that a process takes: from an option, torchrun, or an array of SLURM."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from ibc_pyg.errors import ConfigError, shown


@dataclass(frozen=True)
class Share:
    """Every `count`-th part of a job, from part `index` on.

    Attributes:
        index: Number of the process, in [0, count).
        count: Number of processes.
    """

    index: int = 0
    count: int = 1

    @classmethod
    def parse(cls, text: str) -> Share:
        """Read `i/n`, i from 0.

        Raises:
            ConfigError: If it is anything else.
        """
        found = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", text)
        index, count = (int(found[1]), int(found[2])) if found else (0, 0)
        if index >= count:
            raise ConfigError(
                f"--shard must be i/n with i from 0 to n - 1, such as 0/4, not {shown(text)}"
            )
        return cls(index, count)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Share:
        """Return the share that torchrun or SLURM gives this process; all without them.

        Raises:
            ConfigError: If the tasks of a SLURM array are not numbered evenly.
        """
        if "TORCHELASTIC_RUN_ID" in environment:
            return cls(*(_number(environment, name) for name in ("RANK", "WORLD_SIZE")))
        if "SLURM_ARRAY_TASK_ID" not in environment:
            return cls()
        task, count, first, last = (
            _number(environment, f"SLURM_ARRAY_TASK_{name}")
            for name in ("ID", "COUNT", "MIN", "MAX")
        )
        step = (last - first) // max(count - 1, 1) or 1
        if last != first + step * (count - 1) or (task - first) % step:
            raise ConfigError(
                "the tasks of this SLURM array are not evenly numbered; number them like "
                "--array=0-7, or give each its share: --shard i/n"
            )
        return cls((task - first) // step, count)


def _number(environment: Mapping[str, str], name: str) -> int:
    text = environment.get(name, "")
    if not re.fullmatch("[0-9]{1,9}", text):
        raise ConfigError(f"the environment variable {name} must be a number, not {shown(text)}")
    return int(text)
