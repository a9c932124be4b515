"""One process at a time."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

if os.name == "nt":
    import msvcrt

    def _try_lock(handle: int) -> None:
        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
else:
    import fcntl

    def _try_lock(handle: int) -> None:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


@contextmanager
def file_lock(path: Path, *, poll_seconds: float = 0.05) -> Iterator[None]:
    """Hold a lock that other processes wait for.

    The operating system gives the lock back when the process ends, killed or not, so that a stale
    file blocks nobody. The file stays: removing it would let two processes lock two files.

    Raises:
        OSError: If the file cannot be made.
    """
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        while True:
            try:
                _try_lock(handle)
                break
            except (BlockingIOError, PermissionError):
                time.sleep(poll_seconds)
        yield
    finally:
        os.close(handle)
