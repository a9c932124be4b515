"""Log of the emulated device: waits of the host for it, and counts of its operations."""

import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import ibc_pyg

PACKAGE = Path(ibc_pyg.__file__).parent
MAX_LINES = 3


class Wait(NamedTuple):
    """A wait of the host until the device has finished its work."""

    reason: str
    operation: str
    place: str


@dataclass
class Log:
    """Record of what the device was asked to do since it was last cleared."""

    waits: list[Wait] = field(default_factory=list)
    operations: Counter[str] = field(default_factory=Counter)

    def add_wait(self, reason: str, operation: object) -> None:
        """Record a wait and the place in the package that caused it."""
        self.waits.append(Wait(reason, str(operation), place()))

    def clear(self) -> None:
        """Forget all waits and operations."""
        self.waits.clear()
        self.operations.clear()


LOG = Log()
"""Log of the only device."""


def place() -> str:
    """Return the innermost lines of the package in the call stack, `file:line < file:line`."""
    lines: list[str] = []
    frame = sys._getframe(1)
    while frame is not None and len(lines) < MAX_LINES:
        file = Path(frame.f_code.co_filename)
        if file.is_relative_to(PACKAGE):
            lines.append(f"{file.relative_to(PACKAGE)}:{frame.f_lineno}")
        frame = frame.f_back
    return " < ".join(lines)
