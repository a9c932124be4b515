"""Ctrl-C asks to stop after the current step."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

from ibc_pyg.parallel.processes import any_across_processes


class StopRequest:
    """Turns the first interrupt into a request; a second one interrupts at once.

    Where several processes work together, `agreed` is what all of them go by.

    Outside the main thread, where Python allows no signal handlers, it does nothing.
    """

    def __init__(self) -> None:
        self.requested = False
        self._earlier: dict[int, Any] = {}

    def agreed(self) -> bool:
        """Tell whether one of the processes was asked to stop; all must ask at the same point."""
        # Not kept in `requested`: a signal that reaches this process later is not its second one.
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
        """Put the earlier handlers back."""
        for number, handler in self._earlier.items():
            signal.signal(number, handler)

    def _request(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
