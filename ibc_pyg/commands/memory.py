"""Memory settings of the command line's own process."""

from __future__ import annotations

import ctypes
import sys

_M_TRIM_THRESHOLD = -1
_M_MMAP_MAX = -4


def keep_freed_memory() -> bool:
    """Make glibc keep freed memory, which the next batch on the CPU asks for again at once.

    Otherwise the system clears the same pages in every step. Commands that train, and those that
    embed many pictures, call it; the library leaves the settings of its process alone
    (https://man7.org/linux/man-pages/man3/mallopt.3.html).

    Returns:
        Whether the C library supports it.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)) and bool(mallopt(_M_MMAP_MAX, 0))
