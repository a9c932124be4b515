"""Progress of many runs, and the time that the rest is expected to take."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable

from ibc_pyg.console import duration

_BEGUN = ("started", "resumed")
_RUNNING = "train "
_STOPPED = "stopped"


class TimeLeft:
    """Counts runs and estimates the time left from the mean time of those that ended.

    Args:
        total: Number of runs.
        workers: Number of runs side by side.
        clock: Seconds; for tests.
    """

    def __init__(
        self, total: int, workers: int, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._total, self._workers, self._clock = total, workers, clock
        self._lock = threading.Lock()
        self._begun: dict[Hashable, float] = {}
        self._spent: list[float] = []
        self._done = 0

    def note(self, run: Hashable, status: str) -> str:
        """Take notice of the status of a run; return it with what is done and left.

        Args:
            run: Identity of the run.
            status: As the pool reports it; `started` and `resumed`, with or without more words,
                begin a run, a line of its progress, `train 20/400`, changes nothing, as does
                `stopped`, and any other status ends it.
        """
        with self._lock:
            now = self._clock()
            if status.startswith((_RUNNING, _STOPPED)):
                return status
            if status.startswith(_BEGUN):
                self._begun[run] = now
                return status
            self._done += 1
            if run in self._begun:
                self._spent.append(now - self._begun.pop(run))
            words = f"{status}; {self._done} of {self._total} done"
            if not self._spent or self._done >= self._total:
                return words
            return f"{words}, about {duration(self._left(now))} left"

    def _left(self, now: float) -> float:
        mean = sum(self._spent) / len(self._spent)
        open_runs = self._total - self._done - len(self._begun)
        running = sum(max(0.0, mean - (now - begun)) for begun in self._begun.values())
        return (open_runs * mean + running) / self._workers
