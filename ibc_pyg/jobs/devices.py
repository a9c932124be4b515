"""Placement of runs on the GPUs of a machine, one on each."""

from __future__ import annotations

import os
import queue
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

VISIBLE = "CUDA_VISIBLE_DEVICES"


def visible_gpus(
    environment: Mapping[str, str] | None = None, count: int | None = None
) -> list[str]:
    """Return the GPUs that runs can be placed on, by the names that `VISIBLE` takes.

    Args:
        environment: Environment variables; None takes those of this process.
        count: Number of GPUs that torch sees; None asks torch.
    """
    given = (os.environ if environment is None else environment).get(VISIBLE)
    if count is None:
        import torch

        count = torch.cuda.device_count()
    names = [str(index) for index in range(count)]
    if given is not None:
        names = [name.strip() for name in given.split(",") if name.strip()]
    return names[:count]


class Placement:
    """Hands out GPUs to runs side by side; with fewer than two there is nothing to hand out.

    Args:
        gpus: GPUs, by the names that `VISIBLE` takes.
        workers: Number of runs side by side. With more runs than GPUs, a GPU has several.
    """

    def __init__(self, gpus: Sequence[str], workers: int) -> None:
        self._free: queue.Queue[str] | None = None
        if len(gpus) > 1:
            self._free = queue.Queue()
            for number in range(max(workers, len(gpus))):
                self._free.put(gpus[number % len(gpus)])

    @contextmanager
    def gpu(self, device: str) -> Iterator[str | None]:
        """Yield the GPU of a run, which is free again after the block.

        Args:
            device: `train.device` of the run; one on the CPU, or on a GPU by number, is not placed.
        """
        if self._free is None or device not in ("auto", "cuda"):
            yield None
            return
        taken = self._free.get()
        try:
            yield taken
        finally:
            self._free.put(taken)
