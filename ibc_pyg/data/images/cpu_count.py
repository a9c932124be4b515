"""Number of CPU cores available to this process."""

from __future__ import annotations

import os

MAX_DECODING = 16
"""Each thread may hold an image of the largest allowed size."""


def cpu_count() -> int:
    """Return the number of CPU cores that this process may use; a container may have a subset."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def decoding_threads() -> int:
    """Return the number of threads that decode images: one per core, and at most `MAX_DECODING`."""
    return min(cpu_count(), MAX_DECODING)
