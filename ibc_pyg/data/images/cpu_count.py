"""Number of CPU cores available to this process."""

from __future__ import annotations

import os


def cpu_count() -> int:
    """Return the number of CPU cores that this process may use; a container may have a subset."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
