"""Run a grid: what is done is skipped, what was cut is resumed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ibc_pyg.compare.grid import GridPoint
from ibc_pyg.config import Config
from ibc_pyg.config.yaml_file import config_from_yaml, config_to_dict, parse_config
from ibc_pyg.errors import RunError
from ibc_pyg.jobs.pool import Job, run_jobs
from ibc_pyg.runs.resume import MAY_CHANGE
from ibc_pyg.runs.run_folder import RunFolder

METRICS = ("R@1", "MAP@R", "RP", "NMI")


@dataclass(frozen=True)
class GridRun:
    """One run of a grid.

    Attributes:
        cell: Its setting.
        seed: Its seed.
        path: Its run folder.
    """

    cell: GridPoint
    seed: int
    path: Path


def make_runs(cells: Sequence[GridPoint], seeds: Sequence[int], out: Path) -> list[GridRun]:
    """Return all runs, seed by seed, so that a grid that is cut has whole seeds."""
    return [
        GridRun(cell, seed, out / cell.folder / f"seed-{seed}") for seed in seeds for cell in cells
    ]


def run_grid(
    jobs: Sequence[GridRun],
    experiment: Path,
    fields: Sequence[str],
    *,
    workers: int,
    group: str,
    report: Callable[[GridRun, str], None],
    threads: int | None = None,
    trust_code: bool = False,
) -> None:
    """Do every job.

    Args:
        jobs: What to run.
        experiment: Experiment file of all.
        fields: Options that hold for all, as on the command line.
        workers: How many run side by side.
        group: W&B group.
        report: Called with each job and what became of it.
        threads: CPU threads of each run; None shares the processor's among them.
        trust_code: As in `ibc_pyg.builders.loss.build_loss`.

    Raises:
        RunError: If a run failed, or a folder holds the run of another setting.
    """
    by_path = {job.path: job for job in jobs}
    tasks = [
        Job(
            job.cell.name,
            job.path,
            tracked(_config(job, experiment, fields), group, job.cell.name),
        )
        for job in jobs
    ]
    check_settings(tasks)
    failures = run_jobs(
        tasks,
        workers=workers,
        threads=threads,
        trust_code=trust_code,
        report=lambda task, what: report(by_path[task.path], what),
    )
    if failures:
        first = failures[0]
        raise RunError(
            f"{len(failures)} of {len(jobs)} runs failed; the first: {first.task.path}: "
            f"{first.message} (see {first.task.log})"
        )


def _config(job: GridRun, experiment: Path, fields: Sequence[str]) -> Config:
    seed = ["--train.seed", str(job.seed)]
    return parse_config(experiment, [*fields, *job.cell.overrides, *seed])


def tracked(config: Config, group: str, *tags: str) -> Config:
    """Return the experiment with a W&B group, and with tags, where it has none of its own."""
    track = config.track
    # W&B takes tags of 1 to 64 characters.
    own = track.tags or [tag[:64] for tag in tags]
    return replace(config, track=replace(track, group=track.group or group, tags=own))


def check_settings(tasks: Iterable[Job]) -> None:
    """Refuse to take the runs of other settings for these.

    Raises:
        RunError: If a folder holds such a run; a field that differs is named.
    """
    for task in tasks:
        if not task.finished and not task.cut:
            continue
        kept = _flat(config_from_yaml(task.path / "config.yaml"))
        for name, value in _flat(task.config):
            if (name, value) not in kept:
                raise RunError(
                    f"{task.path} is a run with {name} = {dict(kept).get(name)}, not {value}; "
                    "choose another --out, or remove it"
                )


def _flat(config: Config) -> list[tuple[str, Any]]:
    """Return the value of each field that a run depends on, by its name."""
    found: list[tuple[str, Any]] = []
    for part, values in config_to_dict(config).items():
        if not isinstance(values, dict):
            found.append((part, values))
        elif part != "track":
            found += [(f"{part}.{name}", value) for name, value in values.items()]
    return [(name, value) for name, value in found if name not in MAY_CHANGE]


def read_results(jobs: Sequence[GridRun]) -> dict[GridPoint, list[dict[str, Any]]]:
    """Return the summaries of each cell, in the order of the seeds.

    Raises:
        RunError: If one is missing or damaged.
    """
    results: dict[GridPoint, list[dict[str, Any]]] = {}
    for job in jobs:
        results.setdefault(job.cell, []).append(scores_of(RunFolder(job.path)))
    return results


def scores_of(run: RunFolder) -> dict[str, Any]:
    """Return the summary of a run; its scores are those of the refined descriptors, if it has any.

    Raises:
        RunError: If it is missing or damaged.
    """
    summary: dict[str, Any] = run.read_summary()
    refined: dict[str, Any] = summary.get("refined", {})
    return summary | refined
