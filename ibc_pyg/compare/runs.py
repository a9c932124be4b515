"""Runs of a grid; finished ones are skipped, interrupted ones are resumed."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ibc_pyg.compare.grid import GridPoint
from ibc_pyg.config import Config
from ibc_pyg.config.files.yaml_file import config_from_yaml, config_to_dict, parse_config
from ibc_pyg.config.plugged import plugged_sources
from ibc_pyg.data.splits import NOT_TESTED
from ibc_pyg.errors import RunError
from ibc_pyg.jobs.pool import Job, check_jobs, run_jobs
from ibc_pyg.runs.resume import first_difference
from ibc_pyg.runs.run_folder import RunFolder
from ibc_pyg.runs.source_record import check_sources


@dataclass(frozen=True)
class GridRun:
    """One run of a grid.

    Attributes:
        point: Setting.
        seed: Seed.
        path: Run folder.
    """

    point: GridPoint
    seed: int
    path: Path


def make_runs(points: Sequence[GridPoint], seeds: Sequence[int], out: Path) -> list[GridRun]:
    """Return all runs, seed by seed, so that an interrupted grid has complete seeds."""
    return [
        GridRun(point, seed, out / point.folder / f"seed-{seed}")
        for seed in seeds
        for point in points
    ]


def run_grid(
    runs: Sequence[GridRun],
    experiment: Path,
    fields: Sequence[str],
    *,
    workers: int,
    group: str,
    report: Callable[[GridRun, str], None],
    say: Callable[[str], None],
    threads: int | None = None,
    trust_code: bool = False,
) -> None:
    """Check every row, then train all runs.

    Args:
        runs: The runs.
        experiment: Experiment file of all runs.
        fields: Options of all runs, as on the command line.
        workers: Number of runs side by side.
        group: W&B group.
        report: Called with each run and its status.
        say: Called with a line before the rows are checked.
        threads: CPU threads of each run; None divides the cores among the workers.
        trust_code: As in `ibc_pyg.builders.loss.build_loss`.

    Raises:
        RunError: If a run failed, or a folder holds the run of another setting.
    """
    by_path = {run.path: run for run in runs}
    jobs = grid_jobs(runs, experiment, fields, group=group)
    check_settings(jobs)
    rows: dict[str, list[Job]] = {}
    for job in jobs:
        rows.setdefault(job.name, []).append(job)
    check_rows(rows, say, workers=workers, threads=threads, trust_code=trust_code)
    failures = run_jobs(
        jobs,
        workers=workers,
        threads=threads,
        trust_code=trust_code,
        report=lambda job, status: report(by_path[job.path], status),
    )
    if failures:
        first = failures[0]
        raise RunError(
            f"{len(failures)} of {len(runs)} runs failed; the first: {first.job.path}: "
            f"{first.message} (see {first.job.log})"
        )


def grid_jobs(
    runs: Sequence[GridRun], experiment: Path, fields: Sequence[str], *, group: str
) -> list[Job]:
    """Return the job of each run; see `run_grid`."""
    return [
        Job(
            run.point.name,
            run.path,
            tracked(
                _config(run, experiment, fields),
                group,
                run.point.name,
                name=f"{run.point.name} seed {run.seed}",
            ),
        )
        for run in runs
    ]


def check_rows(
    rows: Mapping[str, Sequence[Job]],
    say: Callable[[str], None],
    *,
    workers: int,
    threads: int | None = None,
    trust_code: bool = False,
) -> None:
    """Check that every row can be trained, by one step of it, before the first is.

    Args:
        rows: Runs of each row. A row that has begun, or is done, is not checked; nor is a single
            run.
        say: Called with a line before the check.
        workers: As in `run_jobs`.
        threads: As in `run_jobs`.
        trust_code: As in `run_jobs`.

    Raises:
        RunError: Naming the first row that cannot, and the reason.
    """
    new = [each for each in rows.values() if not any(job.finished or job.resumable for job in each)]
    if sum(map(len, new)) <= 1:
        return
    first = [each[0] for each in new]
    say(f"checking each of {len(first)} rows by one step")
    failures = check_jobs(first, workers=workers, threads=threads, trust_code=trust_code)
    if failures:
        raise RunError(
            f"{len(failures)} of {len(rows)} rows cannot be trained, and none was; the first: "
            f"{failures[0].job.name}: {failures[0].message}"
        )


def _config(run: GridRun, experiment: Path, fields: Sequence[str]) -> Config:
    seed = ["--train.seed", str(run.seed)]
    return parse_config(experiment, [*fields, *run.point.overrides, *seed])


def tracked(config: Config, group: str, *tags: str, name: str) -> Config:
    """Return the experiment with a W&B group, tags and a name.

    What the experiment sets is kept, and then what W&B's environment variables set.

    Args:
        config: The experiment.
        group: Group.
        *tags: Tags.
        name: Name of the run.
    """
    track = config.track
    # W&B takes tags of 1 to 64 characters.
    own = track.tags or [tag[:64] for tag in tags]
    return replace(
        config,
        track=replace(
            track,
            name=track.name or os.environ.get("WANDB_NAME") or name,
            group=track.group or os.environ.get("WANDB_RUN_GROUP") or group,
            tags=own,
        ),
    )


def check_settings(jobs: Iterable[Job]) -> None:
    """Check that folders which hold runs hold runs of these settings, and of this plugged code.

    Raises:
        RunError: If one does not; the first different field, or the changed file, is named.
    """
    for job in jobs:
        if not job.finished and not job.resumable:
            continue
        kept = config_to_dict(config_from_yaml(job.path / "config.yaml"))
        if found := first_difference(kept, config_to_dict(job.config)):
            name, before, now = found
            raise RunError(
                f"{job.path} is a run with {name} = {before}, not {now}; choose another --out, "
                "or remove it"
            )
        check_sources(job.path, plugged_sources(job.config))


def read_results(runs: Sequence[GridRun]) -> dict[GridPoint, list[dict[str, Any]]]:
    """Return the summaries of each grid point, in the order of the seeds.

    Raises:
        RunError: If one is missing or damaged.
    """
    results: dict[GridPoint, list[dict[str, Any]]] = {}
    for run in runs:
        results.setdefault(run.point, []).append(scores_of(RunFolder(run.path)))
    return results


def scores_of(run: RunFolder) -> dict[str, Any]:
    """Return the summary of a run, with the scores of refined descriptors if there are any.

    Raises:
        RunError: If it is missing or damaged, or the run was not tested.
    """
    summary: dict[str, Any] = run.read_summary()
    if summary.get("tested") is False:
        raise RunError(f"{run.path} cannot be compared: {NOT_TESTED}")
    refined: dict[str, Any] = summary.get("refined", {})
    return summary | refined
