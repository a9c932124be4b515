"""Run a sweep: trials, the choice, the winners. It can be cut anywhere and goes on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ibc_pyg.compare.curves import write_curves
from ibc_pyg.config.yaml_file import config_to_yaml
from ibc_pyg.errors import RunError
from ibc_pyg.files import write_atomically
from ibc_pyg.jobs.pool import Job, JobFailure, run_jobs
from ibc_pyg.sweep.plan import Plan
from ibc_pyg.sweep.trials import Trial, choose, has_failed, read_trial, record_failure

Report = Callable[[Job, str], None]


def run_trials(
    plan: Plan, *, workers: int, threads: int | None, report: Report, trust_code: bool = False
) -> list[JobFailure]:
    """Try every setting of every method, trial by trial, so that a cut search is balanced.

    Returns:
        The trials that could not be run. Those that failed by themselves, as of a loss that
        diverged, are recorded as the worst instead.
    """
    tasks = [task for task in plan.trials.values() if not has_failed(task)]
    failures = run_jobs(
        tasks, workers=workers, threads=threads, trust_code=trust_code, report=report
    )
    for failure in failures:
        if failure.final:
            record_failure(failure)
    return [failure for failure in failures if not failure.final]


def winners(plan: Plan) -> dict[str, Trial]:
    """Return the best trial of each method whose trials are all done."""
    best = {}
    for method in plan.methods:
        trials = [read_trial(plan, method, number) for number in range(len(plan.values))]
        winner = choose(trials, maximize=plan.sweep.maximize)
        if winner is not None:
            best[method.name] = winner
    return best


def final_tasks(plan: Plan, best: dict[str, Trial]) -> dict[str, list[Job]]:
    """Return the runs of each row whose method has a winner, one a fresh seed."""
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
    """Train the winners, and their twins, on all training classes, seed by seed.

    Args:
        finals: What `final_tasks` returned.
        workers: Runs side by side.
        threads: CPU threads of each.
        report: As in `run_jobs`.
        trust_code: As in `run_jobs`.

    Returns:
        The runs that failed.
    """
    tasks = [task for of_seed in zip(*finals.values(), strict=True) for task in of_seed]
    return run_jobs(tasks, workers=workers, threads=threads, trust_code=trust_code, report=report)


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
            f"# {files}, trial {trial.number} of {len(plan.values)}: "
            f"{plan.sweep.metric} {trial.score:.4f} on held-out training classes.\n"
        )
        folder = plan.out / method.name
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / "best.yaml", (head + config_to_yaml(config)).encode())


def write_courses(plan: Plan, finals: Mapping[str, Sequence[Job]]) -> list[Path]:
    """Write the course of every finished run; return the paths.

    Raises:
        RunError: If a history is damaged, or a file cannot be written.
    """
    trials = [
        (name, number, task.path) for (name, number), task in plan.trials.items() if task.finished
    ]
    runs = [
        (name, task.config.train.seed, task.path)
        for name, tasks in finals.items()
        for task in tasks
        if task.finished
    ]
    return [
        # Trials of a method differ in their number, and have one seed.
        write_curves(trials, plan.out / "trial_curves.csv", losses=False),
        write_curves(runs, plan.out / "curves.csv"),
    ]


def explain(failures: Sequence[JobFailure], count: int, what: str) -> RunError:
    """Return the error for runs that failed."""
    first = failures[0]
    return RunError(
        f"{len(failures)} of {count} {what} failed; the first: {first.task.path}: {first.message} "
        f"(see {first.task.log}); the same command tries them again"
    )
