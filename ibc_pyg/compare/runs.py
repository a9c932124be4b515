"""Run a grid: what is done is skipped, what was cut is resumed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ibc_pyg.compare.grid import Cell
from ibc_pyg.config import Config
from ibc_pyg.config_file import config_from_yaml, config_to_dict, parse_config
from ibc_pyg.engine.run_folder import RunFolder
from ibc_pyg.errors import RunError

METRICS = ("R@1", "MAP@R", "RP", "NMI")


@dataclass(frozen=True)
class Job:
    """One run of a grid.

    Attributes:
        cell: Its setting.
        seed: Its seed.
        path: Its run folder.
    """

    cell: Cell
    seed: int
    path: Path


def make_jobs(cells: Sequence[Cell], seeds: Sequence[int], out: Path) -> list[Job]:
    """Return all runs, seed by seed, so that a grid that is cut has whole seeds."""
    return [Job(cell, seed, out / cell.folder / f"seed-{seed}") for seed in seeds for cell in cells]


def run_jobs(
    jobs: Sequence[Job],
    experiment: Path,
    fields: Sequence[str],
    *,
    workers: int,
    group: str,
    report: Callable[[Job, str], None],
) -> None:
    """Do every job in a process of its own.

    Args:
        jobs: What to run.
        experiment: Experiment file of all.
        fields: Options that hold for all, as on the command line.
        workers: How many run side by side; the processor's threads are shared among them.
        group: W&B group.
        report: Called with each job and what became of it.

    Raises:
        RunError: If a run failed, or a folder holds the run of another setting.
    """
    threads = max(1, (os.cpu_count() or 1) // workers)
    for job in jobs:
        _check_settings(job, experiment, fields)

    def work(job: Job) -> str | None:
        try:
            return run(job)
        except OSError as error:
            return f"{job.path}: {error}"

    def run(job: Job) -> str | None:
        if (job.path / "summary.json").is_file():
            report(job, "done before")
            return None
        cut = _is_cut(job)
        if cut:
            arguments = ["--resume", str(job.path)]
        else:
            arguments = [str(experiment), *fields, *job.cell.overrides, "--train.seed"]
            arguments += [str(job.seed), "--track.group", group, "--out", str(job.path)]
        report(job, "resumed" if cut else "started")
        job.path.parent.mkdir(parents=True, exist_ok=True)
        log = job.path.parent / f"seed-{job.seed}.log"
        with log.open("w", encoding="utf-8") as file:
            done = subprocess.run(
                [sys.executable, "-m", "ibc_pyg", "train", *arguments],
                stdout=file,
                stderr=subprocess.STDOUT,
                env=_environment(threads),
            )
        if done.returncode == 0:
            report(job, "finished")
            return None
        lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return f"{job.path}: {lines[-1] if lines else 'failed'} (see {log})"

    with ThreadPoolExecutor(workers) as pool:
        failures = [failure for failure in pool.map(work, jobs) if failure]
    if failures:
        raise RunError(f"{len(failures)} of {len(jobs)} runs failed; the first: {failures[0]}")


def _is_cut(job: Job) -> bool:
    return any(job.path.glob("checkpoints/step-*"))


def _check_settings(job: Job, experiment: Path, fields: Sequence[str]) -> None:
    """Refuse to take the run of other settings for this one."""
    if not (job.path / "summary.json").is_file() and not _is_cut(job):
        return
    kept = _flat(config_from_yaml(job.path / "config.yaml"))
    seed = ["--train.seed", str(job.seed)]
    for name, value in _flat(parse_config(experiment, [*fields, *job.cell.overrides, *seed])):
        if (name, value) not in kept:
            raise RunError(
                f"{job.path} is a run with {name} = {dict(kept).get(name)}, not {value}; "
                "choose another --out, or remove it"
            )


def _flat(config: Config) -> list[tuple[str, Any]]:
    """Return the value of each field by its name, but for where the run is tracked."""
    found: list[tuple[str, Any]] = []
    for part, values in config_to_dict(config).items():
        if not isinstance(values, dict):
            found.append((part, values))
        elif part != "track":
            found += [(f"{part}.{name}", value) for name, value in values.items()]
    return found


def _environment(threads: int) -> dict[str, str]:
    """Return the variables of a run's process, which must find this package wherever it is."""
    root = str(Path(__file__).resolve().parents[2])
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    return {
        **os.environ,
        "OMP_NUM_THREADS": str(threads),
        "PYTHONPATH": os.pathsep.join(paths),
    }


def read_results(jobs: Sequence[Job]) -> dict[Cell, list[dict[str, Any]]]:
    """Return the summaries of each cell, in the order of the seeds.

    Raises:
        RunError: If one is missing or damaged.
    """
    results: dict[Cell, list[dict[str, Any]]] = {}
    for job in jobs:
        results.setdefault(job.cell, []).append(RunFolder(job.path).read_summary())
    return results
