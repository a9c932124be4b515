"""Settings of the command line's own process, which the library leaves alone."""

from __future__ import annotations

import ctypes
import os
import sys

_SPINS = "1000"

_M_TRIM_THRESHOLD = -1
_M_MMAP_MAX = -4


def limit_spinning() -> None:
    """Let an OpenMP thread that waits spin for microseconds, then sleep.

    By default GNU OpenMP spins for milliseconds, and takes the processor time from whatever it
    waits for when other processes run on the same cores. Has no effect once torch is imported; a
    policy that the user has set stays
    (https://gcc.gnu.org/onlinedocs/libgomp/GOMP_005fSPINCOUNT.html).
    """
    if os.environ.keys().isdisjoint({"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"}):
        os.environ["GOMP_SPINCOUNT"] = _SPINS


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
