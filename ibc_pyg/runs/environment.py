"""Environment of a run: versions, machine, commit and command."""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

_PACKAGES = (
    "ibc-pyg",
    "torch",
    "torchvision",
    "torch-geometric",
    "lightning-fabric",
    # Names of faiss with pip, with pip for GPUs, and with conda.
    "faiss-cpu",
    "faiss-gpu",
    "faiss",
    "scikit-learn",
    "numpy",
    "scipy",
    "pillow",
    "matplotlib",
    "safetensors",
    "timm",
    "torch-scatter",
    "wandb",
)


def environment() -> dict[str, Any]:
    """Return versions, machine, git commit and command of this process."""
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": command_line(),
        "working_folder": str(Path.cwd()),
        "git_commit": git_commit(),
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cpu_count": os.cpu_count(),
        "gpu": _gpu(),
        "packages": package_versions(_PACKAGES),
    }


def package_versions(names: Iterable[str]) -> dict[str, str]:
    """Return the versions of those packages that are installed."""
    versions = {}
    for package in names:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return versions


def command_line() -> str:
    """Return the command that started this process, as typed in a shell."""
    program = "run.py" if Path(sys.argv[0]).name in ("run.py", "__main__.py") else sys.argv[0]
    return shlex.join(["python", program, *sys.argv[1:]])


def git_commit() -> str | None:
    """Return the commit of the source tree, with `+changes` if it differs; None outside git."""
    here = Path(__file__).resolve().parent

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", "-C", str(here), *arguments], capture_output=True, text=True, timeout=10
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    commit = git("rev-parse", "HEAD")
    if commit is None:
        return None
    return commit + ("+changes" if git("status", "--porcelain", "-uno") else "")


def _gpu() -> str | None:
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else None


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
