"""Execution of a sweep: trials, selection, winners; an interrupted sweep can be resumed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ibc_pyg.compare.curves import read_curves, write_curves
from ibc_pyg.compare.figures import draw_curves, write_figure
from ibc_pyg.compare.runs import check_rows
from ibc_pyg.config.files.yaml_file import config_to_yaml
from ibc_pyg.errors import RunError, printable
from ibc_pyg.files import write_atomically
from ibc_pyg.jobs.pool import Job, JobFailure, run_jobs
from ibc_pyg.sweep.plan import Plan
from ibc_pyg.sweep.trials import Trial, choose, has_failed, read_trial, record_failure

Report = Callable[[Job, str], None]


def run_trials(
    plan: Plan, *, workers: int, threads: int | None, report: Report, trust_code: bool = False
) -> list[JobFailure]:
    """Run every trial of every method, ordered so that an interrupted search is balanced.

    Returns:
        Trials that could not be run. Trials that failed for good, as by divergence, are recorded
        as the worst instead.
    """
    jobs = [job for job in plan.trials.values() if not has_failed(job)]
    for job in plan.trials.values():
        if has_failed(job):
            report(job, "failed before")
    failures = run_jobs(
        jobs, workers=workers, threads=threads, trust_code=trust_code, report=report
    )
    for failure in failures:
        if failure.final:
            record_failure(failure)
    return [failure for failure in failures if not failure.final]


def check_methods(
    plan: Plan,
    say: Callable[[str], None],
    *,
    workers: int,
    threads: int | None,
    trust_code: bool = False,
) -> None:
    """Check that every row can be trained, before the first trial is; see `check_rows`.

    A control is checked with the values of its method's first trial.
    """
    rows: dict[str, list[Job]] = {}
    for (method, _), job in plan.trials.items():
        rows.setdefault(method, []).append(job)
    # A method whose trials fail, as by divergence, has begun.
    rows = {name: jobs for name, jobs in rows.items() if not any(map(has_failed, jobs))}
    if plan.seeds:
        begun = any(job.finished for job in plan.trials.values())
        controls = [] if begun else plan.controls
        rows |= {each.name: [plan.final(each, 0, plan.final_seeds.start)] for each in controls}
    check_rows(rows, say, workers=workers, threads=threads, trust_code=trust_code)


def winners(plan: Plan) -> dict[str, Trial]:
    """Return the best trial of each method whose trials are all finished."""
    best = {}
    for method in plan.methods:
        trials = [read_trial(plan, method, number) for number in range(len(plan.values))]
        winner = choose(trials, maximize=plan.sweep.maximize)
        if winner is not None:
            best[method.name] = winner
    return best


def final_jobs(plan: Plan, best: dict[str, Trial]) -> dict[str, list[Job]]:
    """Return the runs of each row whose method has a winner, one for each fresh seed."""
    return {
        row.name: [
            plan.final(row, best[plan.method(row).name].number, seed) for seed in plan.final_seeds
        ]
        for row in plan.rows
        if plan.method(row).name in best
    }


def run_finals(
    finals: Mapping[str, Sequence[Job]],
    *,
    workers: int,
    threads: int | None,
    report: Report,
    trust_code: bool = False,
) -> list[JobFailure]:
    """Train the winners and their controls on all training classes, seed by seed.

    Args:
        finals: Runs of each row, from `final_jobs`.
        workers: Number of runs side by side.
        threads: CPU threads of each run.
        report: Called with each run and its status.
        trust_code: As in `run_jobs`.

    Returns:
        The runs that failed.
    """
    jobs = [job for of_seed in zip(*finals.values(), strict=True) for job in of_seed]
    return run_jobs(jobs, workers=workers, threads=threads, trust_code=trust_code, report=report)


def write_best(plan: Plan, best: dict[str, Trial]) -> None:
    """Write each winner as `METHOD/best.yaml`, an experiment file.

    Raises:
        RunError: If it cannot be written.
    """
    for method in plan.methods:
        if method.name not in best:
            continue
        trial = best[method.name]
        config = plan.winner_config(method, trial.number, plan.final_seeds.start)
        files = " + ".join(map(str, method.files))
        head = (
            f"# {printable(files)}, trial {trial.number} of {len(plan.values)}: "
            f"{plan.sweep.metric} {trial.score:.4f} on held-out training classes.\n"
        )
        folder = plan.out / method.name
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / "best.yaml", (head + config_to_yaml(config)).encode())


def write_sweep_curves(
    plan: Plan, finals: Mapping[str, Sequence[Job]], labels: Mapping[str, str]
) -> list[Path]:
    """Write the curves of every finished run, and the figure of those of the winners.

    Args:
        plan: The sweep.
        finals: Runs of each row.
        labels: Texts shown for rows, by their names.

    Returns:
        The paths.

    Raises:
        RunError: If a history is damaged, or a file cannot be written.
    """
    trials = [
        (name, number, job.path) for (name, number), job in plan.trials.items() if job.finished
    ]
    runs = [
        (name, job.config.train.seed, job.path)
        for name, jobs in finals.items()
        for job in jobs
        if job.finished
    ]
    points = read_curves(runs)
    return [
        # Trials of a method differ in their number, not in their seed.
        write_curves(read_curves(trials, losses=False), plan.out / "trial_curves.csv"),
        write_curves(points, plan.out / "curves.csv"),
        *write_figure(lambda: draw_curves(points, labels), plan.out / "curves"),
    ]


def explain(failures: Sequence[JobFailure], count: int, kind: str) -> RunError:
    """Return the error for runs that failed."""
    first = failures[0]
    return RunError(
        f"{len(failures)} of {count} {kind} failed; the first: {first.job.path}: {first.message} "
        f"(see {first.job.log}); the same command runs them again"
    )
