"""Throughput and data-loading wait time."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import torch

SPEED_STEPS = 20
"""Number of steps in the moving average of the throughput."""
MEASURED = frozenset(
    {
        "time",
        "train/images_per_s",
        "train/data_wait",
        "memory/allocated_mib",
        "memory/peak_mib",
    }
)
"""Names in a record that depend on the machine; all others are equal in every run of the same
configuration on a CPU."""

T = TypeVar("T")


class Speed:
    """Images per second over the last steps, and the share of time that the loop waits for data.

    Args:
        clock: Returns seconds; only differences matter.
    """

    def __init__(self, *, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        now = clock()
        self._marks = deque([(0, now)], maxlen=SPEED_STEPS)
        self._images = 0
        self._waited, self._record_at = 0.0, now

    def waiting(self, batches: Iterable[T]) -> Iterator[T]:
        """Yield the batches and measure the wait for each."""
        iterator = iter(batches)
        while True:
            began = self._clock()
            try:
                batch = next(iterator)
            except StopIteration:
                return
            self._waited += self._clock() - began
            yield batch

    def add(self, images: int) -> None:
        """Count a step with `images` images."""
        self._images += images
        self._marks.append((self._images, self._clock()))

    def record(self) -> dict[str, float]:
        """Return images per second and waiting share, by their names in the records.

        Images per second are averaged over the last steps; the share of time spent waiting, in
        `[0, 1]`, covers the time since the last record.
        """
        (before, began), (images, ended), now = self._marks[0], self._marks[-1], self._clock()
        share = self._waited / max(now - self._record_at, 1e-9)
        self._waited, self._record_at = 0.0, now
        return {
            "train/images_per_s": (images - before) / max(ended - began, 1e-9),
            "train/data_wait": min(share, 1.0),
        }


def memory_in_use(device: torch.device) -> dict[str, float]:
    """Return the current and peak memory of tensors on a GPU, in MiB; empty on a CPU."""
    if device.type != "cuda":
        return {}
    return {
        "memory/allocated_mib": torch.cuda.memory_allocated(device) / 2**20,
        "memory/peak_mib": torch.cuda.max_memory_allocated(device) / 2**20,
    }
