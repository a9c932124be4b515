"""Results of the trials and selection of the winners."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from ibc_pyg.config.files.yaml_file import config_to_yaml
from ibc_pyg.config.plugged import plugged_sources
from ibc_pyg.errors import RunError
from ibc_pyg.files import read_json, write_atomically, write_json
from ibc_pyg.jobs.pool import Job, JobFailure
from ibc_pyg.plain_text import to_sheet
from ibc_pyg.runs.run_folder import RunFolder
from ibc_pyg.runs.source_record import changed_source
from ibc_pyg.sweep.plan import Method, Plan, text


@dataclass(frozen=True)
class Trial:
    """One setting of a method, scored on held-out training classes.

    Attributes:
        method: Name of the method.
        number: From 0; trials of the same number have the same values in every method.
        values: Value of each searched field.
        status: open if the run is not finished; failed if it cannot finish, as after a divergence.
        score: Metric at the last evaluation; None without one.
        seconds: Training time; None unless finished.
        message: Reason of a failure.
    """

    method: str
    number: int
    values: Mapping[str, Any]
    status: Literal["finished", "failed", "open"]
    score: float | None = None
    seconds: float | None = None
    message: str = ""


def record_failure(failure: JobFailure) -> None:
    """Write the failure of a trial to its folder, so that it is not run again.

    Raises:
        RunError: If it cannot be written.
    """
    failure.job.path.mkdir(parents=True, exist_ok=True)
    settings = config_to_yaml(failure.job.config)
    write_json(_failed(failure.job), {"message": failure.message, "config": settings})


def has_failed(job: Job) -> bool:
    """Tell whether a trial has failed with these settings; removing failed.json runs it again.

    With plugged code that has changed since, it has not.
    """
    if job.finished or not _failed(job).is_file():
        return False
    if changed_source(job.path, plugged_sources(job.config)) is not None:
        return False
    return read_json(_failed(job)).get("config") == config_to_yaml(job.config)


def _failed(job: Job) -> Path:
    return job.path / "failed.json"


def read_trial(plan: Plan, method: Method, number: int) -> Trial:
    """Return a trial and its score.

    Raises:
        RunError: If the run lacks the score, or is damaged.
    """
    job, values = plan.trials[method.name, number], plan.values[number]
    if has_failed(job):
        message = str(read_json(_failed(job)).get("message", ""))
        return Trial(method.name, number, values, "failed", message=message)
    if not job.finished:
        return Trial(method.name, number, values, "open")
    run = RunFolder(job.path)
    seconds = float(run.read_summary()["train_seconds"])
    scores = [record for record in run.read_history() if plan.sweep.metric in record]
    if not scores:
        raise RunError(
            f"{run.metrics} has no {plan.sweep.metric}; correct metric.name in {plan.sweep.path}"
        )
    score = scores[-1][plan.sweep.metric]
    return Trial(method.name, number, values, "finished", score, seconds)


def read_trials(plan: Plan) -> list[Trial]:
    """Return every trial, method by method."""
    return [
        read_trial(plan, method, number)
        for method in plan.methods
        for number in range(len(plan.values))
    ]


def choose(trials: Sequence[Trial], *, maximize: bool) -> Trial | None:
    """Return the best trial of a method, the first of equal ones; None while a trial is open.

    Raises:
        RunError: If all trials have failed.
    """
    if any(trial.status == "open" for trial in trials):
        return None
    scored = [
        (trial.score, trial)
        for trial in trials
        if trial.score is not None and math.isfinite(trial.score)
    ]
    if not scored:
        first = trials[0].message or "no score"
        raise RunError(f"every trial of {trials[0].method} failed; the first: {first}")
    sign = 1.0 if maximize else -1.0
    return max(scored, key=lambda each: sign * each[0])[1]


def write_trials(plan: Plan, trials: Sequence[Trial]) -> list[Path]:
    """Write `trials.csv` and `trials.json`; return their paths."""
    fields = [parameter.name for parameter in plan.sweep.parameters]
    rows: list[Sequence[object]] = [
        ["method", "trial", "status", plan.sweep.metric, *fields, "train_seconds"]
    ]
    for trial in trials:
        values = [text(trial.values[name]) for name in fields]
        score = "" if trial.score is None else trial.score
        seconds = "" if trial.seconds is None else trial.seconds
        rows.append([trial.method, trial.number, trial.status, score, *values, seconds])
    write_atomically(plan.out / "trials.csv", to_sheet(rows).encode())
    write_json(
        plan.out / "trials.json",
        {
            "sweep": str(plan.sweep.path),
            "metric": plan.sweep.metric,
            "maximize": plan.sweep.maximize,
            "seed": plan.seed,
            "trials": [asdict(trial) for trial in trials],
        },
    )
    return [plan.out / "trials.csv", plan.out / "trials.json"]
