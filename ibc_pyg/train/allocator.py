"""Memory that a training step frees is kept for the next step.

glibc hands large blocks back to the system as soon as they are free, and the system clears them
again when they are next asked for. A step on the CPU frees and asks for the same activations over
and over, so half of its time can go there. https://man7.org/linux/man-pages/man3/mallopt.3.html
"""

from __future__ import annotations

import ctypes
import sys

_M_TRIM_THRESHOLD = -1
_M_MMAP_MAX = -4


def keep_freed_memory() -> bool:
    """Let the process keep what it frees.

    Returns:
        Whether the C library can: glibc's does; with others nothing changes.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)) and bool(mallopt(_M_MMAP_MAX, 0))
