"""Train a table of the paper again, and set the published figures beside it.

    python run.py reproduce cub --out runs/cub-table

trains the method, the same network without messages and cross-entropy alone with 5 seeds each, the
epoch chosen on held-out training classes, and evaluates with refinement too. `--as-released` adds
the settings of the released code. Finished runs are skipped, interrupted ones are resumed. Further
fields, such as --data.root DIR, apply to all runs. `--dry-run` takes one step of each row, on a
synthetic sample in the layout of the set if there is no data, and trains nothing.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from ibc_pyg.commands.options.numbers import MOST_JOBS, MOST_SEEDS, MOST_THREADS, whole

NAME = "reproduce"
HELP = "train a table of the paper again, beside its figures"
SETS = ("cub", "cars", "sop", "inshop")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add = parser.add_argument
    add("name", choices=SETS, metavar="SET", help=f"data set: {', '.join(SETS)}")
    add("--out", type=Path, help="folder of all runs and the table (default: runs/reproduce-SET)")
    add("--seeds", type=whole(1, MOST_SEEDS), default=5, help="seeds 0 .. N-1 (default: 5)")
    add("--as-released", action="store_true", help="also with the settings of the released code")
    add("--jobs", type=whole(1, MOST_JOBS), default=1, help="runs in parallel (default: 1)")
    add("--threads", type=whole(1, MOST_THREADS), help="CPU threads of a run")
    add("--dry-run", action="store_true", help="take one step of each row; write nothing")
    parser.set_defaults(takes_fields=True)


def run(arguments: argparse.Namespace, fields: Sequence[str]) -> int:
    """Run the command."""
    from ibc_pyg.builders.data import load_images
    from ibc_pyg.commands.options.common import console
    from ibc_pyg.commands.options.outputs import check_folder
    from ibc_pyg.compare.runs import check_rows, check_settings
    from ibc_pyg.console import info
    from ibc_pyg.errors import RunError
    from ibc_pyg.files import make_folder, write_atomically
    from ibc_pyg.jobs.pool import run_jobs
    from ibc_pyg.jobs.time_left import TimeLeft
    from ibc_pyg.reproduce.plan import make_plan
    from ibc_pyg.reproduce.table import to_markdown
    from ibc_pyg.runs.run_lock import locked
    from ibc_pyg.training.dry_run import dry_run

    folder: Path = arguments.out or Path("runs") / f"reproduce-{arguments.name}"
    plan = make_plan(
        arguments.name,
        folder,
        fields,
        seeds=arguments.seeds,
        as_released=arguments.as_released,
    )
    out = console()
    for line in plan.lines(arguments.jobs):
        info(out, line)
    if arguments.dry_run:
        rows = plan.rows()
        info(out, f"dry run: one step of each of {len(rows)} rows, which can take minutes")
        for row, jobs in rows.items():
            info(out, f"{row}: {dry_run(jobs[0].config, out)}")
        return 0
    images = len(load_images(plan.jobs[0].config.data))
    check_folder(folder, [job.path.parent for job in plan.jobs])
    check_settings(plan.jobs)
    make_folder(folder)
    with locked(folder):
        left = TimeLeft(len(plan.jobs), arguments.jobs)
        options = {"workers": arguments.jobs, "threads": arguments.threads}
        try:
            check_rows(plan.rows(), lambda line: info(out, line), **options)
            failures = run_jobs(
                plan.jobs,
                report=lambda job, status: info(out, f"{job.name}: {left.note(job.path, status)}"),
                **options,
            )
        except KeyboardInterrupt:
            info(out, "stopped; the same command resumes")
            return 130
        table = to_markdown(plan, images=images, fields=fields)
        write_atomically(folder / "paper.md", table.encode())
        for line in [*table.splitlines(), f"written: {folder / 'paper.md'}"]:
            info(out, line)
    if failures:
        raise RunError(
            f"{len(failures)} of {len(plan.jobs)} runs failed; the first: {failures[0].job.path}: "
            f"{failures[0].message}; the same command runs them again"
        )
    return 0
