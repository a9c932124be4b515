"""Time and extra peak memory of a function, and a description of the machine."""

from __future__ import annotations

import platform
import resource
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import torch


@dataclass(frozen=True)
class Timing:
    """Seconds of one call: the median of `repeats` calls."""

    median: float
    repeats: int


def synchronise(device: torch.device) -> None:
    """Wait until an accelerator has done its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def time_call(
    call: Callable[[], object], device: torch.device, *, repeats: int, seconds: float
) -> Timing:
    """Call often enough for a median.

    Args:
        call: the function; called once before the clock starts.
        device: the accelerator to wait for.
        repeats: number of timed calls at most, three at least.
        seconds: after this long no further call is started.

    """
    call()
    synchronise(device)
    taken: list[float] = []
    begin = time.perf_counter()
    while len(taken) < max(3, repeats):
        start = time.perf_counter()
        call()
        synchronise(device)
        taken.append(time.perf_counter() - start)
        if len(taken) >= 3 and time.perf_counter() - begin > seconds:
            break
    return Timing(statistics.median(taken), len(taken))


def extra_peak_bytes(call: Callable[[], object], device: torch.device) -> int:
    """Measure the memory that one call needs above what is in use before it.

    On a GPU it is what PyTorch's allocator counts. On a CPU it is the process's peak of resident
    memory: call it in a fresh process, after a small warm-up has loaded code and libraries.
    """
    if device.type == "cuda":
        synchronise(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        call()
        synchronise(device)
        return torch.cuda.max_memory_allocated(device) - before
    reset = _reset_peak()
    before = _status("VmRSS") if reset else _highest()
    call()
    return max(0, (_status("VmHWM") if reset else _highest()) - before)


def _reset_peak() -> bool:
    """Let the kernel forget the peak so far, which imports may have set. Linux only."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return _status("VmHWM") <= _status("VmRSS") + 2**20


def _status(key: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key + ":"):
            return int(line.split()[1]) * 1024
    raise KeyError(key)


def _highest() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if platform.system() == "Darwin" else peak * 1024


def available_bytes(device: torch.device) -> int:
    """Memory that a new process could use."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 8 * 2**30


def machine(device: torch.device) -> dict[str, str]:
    """Describe processor, libraries and date for the head of a table."""
    described = {
        "processor": _processor(),
        "threads": str(torch.get_num_threads()),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
    }
    if device.type == "cuda":
        described["gpu"] = torch.cuda.get_device_name(device)
    return described


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
