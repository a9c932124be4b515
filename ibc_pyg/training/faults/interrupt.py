"""Ctrl-C and SIGTERM as a request to stop after the current step."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

from ibc_pyg.parallel.processes import any_across_processes


class TrainingInterrupted(KeyboardInterrupt):
    """The user stopped the training; a checkpoint has been written."""


class StopRequest:
    """Turns the first interrupt into a request; a second one raises KeyboardInterrupt.

    In a distributed run, the processes act on `agreed`.

    It has no effect outside the main thread, where Python allows no signal handlers.
    """

    def __init__(self) -> None:
        self.requested = False
        self._earlier: dict[int, Any] = {}

    def agreed(self) -> bool:
        """Tell whether any process was asked to stop; all processes must call it together."""
        # Not stored in `requested`: a later signal to this process is not its second one.
        return any_across_processes(self.requested)

    def __enter__(self) -> StopRequest:
        """Install the handlers."""
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._earlier[number] = signal.signal(number, self._request)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Restore the earlier handlers."""
        for number, handler in self._earlier.items():
            signal.signal(number, handler)

    def _request(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
