r"""Search hyper-parameters on held-out training classes; run the winner with fresh seeds.

    python run.py sweep experiments/sweeps/omniglot.yaml --trials 6 --seeds 5 --out runs/sweep

The file has W&B's format and also runs under `wandb agent`. Several methods, searched in the same
space with the same number of trials, are compared in one table:

    python run.py sweep experiments/sweeps/omniglot.yaml --out runs/table --trials 6 --seeds 5 \
        --experiments experiments/baselines/*.yaml experiments/with_graph/*.yaml

Their files are overlays on the experiment that the sweep's command trains.
Finished runs are skipped, interrupted ones are resumed. Further fields, such as --data.root DIR,
apply to all runs.
"""

from __future__ import annotations

import argparse
import itertools
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ibc_pyg.commands.options.numbers import MOST_JOBS, MOST_SEEDS, MOST_THREADS, whole
from ibc_pyg.commands.options.table_options import add_table_options
from ibc_pyg.commands.options.trust import add_trust_code, check_named
from ibc_pyg.errors import ConfigError
from ibc_pyg.sweep import MOST_TRIALS

if TYPE_CHECKING:
    from ibc_pyg.sweep.plan import Plan

NAME = "sweep"
_logger = logging.getLogger(__name__)

HELP = "search hyper-parameters with equal budgets, and write one table"


class _Twin(argparse.Action):
    """The earlier name of --control."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option: str | None = None,
    ) -> None:
        _logger.warning("--twin is deprecated; write --control")
        namespace.control = [*(namespace.control or []), values]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "sweep", type=Path, metavar="SWEEP", help="sweep file, YAML, in W&B's format"
    )
    parser.add_argument(
        "--trials", type=whole(1, MOST_TRIALS), help="trials of each method (default: run_cap)"
    )
    parser.add_argument(
        "--seeds",
        type=whole(0, MOST_SEEDS),
        default=3,
        help="fresh seeds of each winner (default: 3); 0: trials only",
    )
    parser.add_argument(
        "--seed",
        type=whole(0, 2**31),
        default=0,
        help="seed of the drawn values and of the trials (default: 0)",
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of all runs and the table")
    parser.add_argument(
        "--jobs", type=whole(1, MOST_JOBS), default=1, help="runs in parallel (default: 1)"
    )
    parser.add_argument(
        "--threads",
        type=whole(1, MOST_THREADS),
        help="CPU threads of a run (default: all cores, divided among the runs)",
    )
    parser.add_argument(
        "--experiments",
        nargs="+",
        type=Path,
        metavar="FILE",
        help="one method each: an overlay on the experiment of the sweep's command, if it has one",
    )
    parser.add_argument(
        "--reference", metavar="METHOD", help="row to compare with (default: the first)"
    )
    parser.add_argument(
        "--pair",
        action="append",
        default=[],
        metavar="A:B",
        help="also compare row A with row B; may be given repeatedly",
    )
    parser.add_argument(
        "--control",
        action="append",
        default=[],
        metavar="NAME:METHOD:FIELD=VALUE,...",
        help="control run, one more row: METHOD's winning values with these fields changed; may be "
        "given repeatedly",
    )
    parser.add_argument("--twin", action=_Twin, dest="control", help=argparse.SUPPRESS)
    parser.add_argument(
        "--table-only",
        action="store_true",
        help="write the table of finished runs, without running any",
    )
    add_table_options(parser)
    add_trust_code(parser, "the sweep file, an experiment file or a teacher")
    parser.set_defaults(takes_fields=True)


def run(arguments: argparse.Namespace, fields: Sequence[str]) -> int:
    """Run the command."""
    from ibc_pyg.commands.options.outputs import check_folder
    from ibc_pyg.files import make_folder
    from ibc_pyg.runs.run_lock import locked

    plan = _plan(arguments, fields)
    names = [row.name for row in plan.rows]
    if arguments.reference is not None:
        _check_row("--reference", arguments.reference, names)
    pairs = [_pair(given, names) for given in arguments.pair]
    from ibc_pyg.compare.rows import parse_labels

    labels = parse_labels(arguments.label, names)
    # All settings are parsed before the first run starts.
    check_folder(plan.out, [job.path.parent for job in plan.trials.values()])
    controls = [plan.winner_config(control, 0, 0) for control in plan.controls]
    check_named(
        [*(job.config for job in plan.trials.values()), *controls],
        [*fields, *arguments.control],
        trust=arguments.trust_code,
    )
    make_folder(plan.out)
    with locked(plan.out):
        return _sweep(arguments, plan, pairs, labels)


def _sweep(
    arguments: argparse.Namespace,
    plan: Plan,
    pairs: Sequence[tuple[str, str]],
    labels: Mapping[str, str],
) -> int:
    """Run the sweep and write its tables; return the exit code."""
    from ibc_pyg.commands.options.common import console
    from ibc_pyg.compare.publish import publish_tables
    from ibc_pyg.compare.runs import check_settings
    from ibc_pyg.compare.table import to_markdown, write_tables
    from ibc_pyg.console import info
    from ibc_pyg.jobs.pool import Report
    from ibc_pyg.jobs.time_left import TimeLeft
    from ibc_pyg.sweep.results import make_comparison
    from ibc_pyg.sweep.run import (
        check_methods,
        explain,
        final_jobs,
        run_finals,
        run_trials,
        winners,
        write_best,
        write_sweep_curves,
    )
    from ibc_pyg.sweep.trials import read_trials, write_trials

    out = console()
    options: dict[str, Any] = {
        "workers": arguments.jobs,
        "threads": arguments.threads,
        "trust_code": arguments.trust_code,
    }

    def reporter(total: int) -> Report:
        left = TimeLeft(total, arguments.jobs)
        return lambda job, status: info(out, f"{job.name}: {left.note(job.path, status)}")

    errors = []
    try:
        check_settings(plan.trials.values())
        if not arguments.table_only:
            check_methods(plan, lambda line: info(out, line), **options)
            report = reporter(len(plan.trials))
            if failures := run_trials(plan, report=report, **options):
                errors.append(explain(failures, len(plan.trials), "trials"))
        best = winners(plan)
        written = write_trials(plan, read_trials(plan))
        finals = final_jobs(plan, best)
        check_settings(itertools.chain.from_iterable(finals.values()))
        write_best(plan, best)
        if not arguments.table_only:
            count = sum(map(len, finals.values()))
            if failures := run_finals(finals, report=reporter(count), **options):
                errors.append(explain(failures, count, "runs"))
    except KeyboardInterrupt:
        info(out, "stopped; the same command resumes")
        return 130
    comparison = make_comparison(
        plan,
        best,
        finals,
        reference=arguments.reference,
        pairs=pairs,
        labels=labels,
        show=arguments.show,
    )
    if comparison is not None:
        for line in to_markdown(comparison).splitlines():
            info(out, line)
        written += write_tables(comparison, plan.out)
    written += write_sweep_curves(plan, finals, labels)
    for path in written:
        info(out, f"written: {path}")
    if not arguments.table_only and (command := publish_tables(plan.track, plan.out, written)):
        info(out, f"upload to W&B: {command}")
    if errors:
        raise errors[0]
    return 0


def _plan(arguments: argparse.Namespace, fields: Sequence[str]) -> Plan:
    from ibc_pyg.config.files.renamed import expand_renamed
    from ibc_pyg.sweep.plan import Plan, make_control, make_methods
    from ibc_pyg.sweep.sweep_file import read_sweep

    sweep = read_sweep(arguments.sweep)
    count = sweep.run_cap if arguments.trials is None else arguments.trials
    if count is None:
        raise ConfigError("--trials: give a number, or run_cap in the sweep file")
    methods = make_methods(sweep.experiments, expand_renamed(arguments.experiments or []))
    controls = [make_control(given, methods) for given in arguments.control]
    names = [each.name for each in methods] + [each.name for each in controls]
    if len(set(names)) < len(names):
        raise ConfigError("--control: two rows have the same name")
    folders = [(each.method, each.folder) for each in controls]
    if len(set(folders)) < len(folders):
        raise ConfigError("--control: two names differ only in punctuation; choose others")
    return Plan(
        sweep,
        methods,
        controls,
        [*sweep.fields, *fields],
        arguments.out,
        count,
        arguments.seed,
        arguments.seeds,
    )


def _pair(given: str, names: Sequence[str]) -> tuple[str, str]:
    first, colon, second = given.partition(":")
    if not colon:
        raise ConfigError(f"--pair {given!r} must read A:B")
    for name in (first, second):
        _check_row(f"--pair {given!r}", name, names)
    return first, second


def _check_row(option: str, name: str, names: Sequence[str]) -> None:
    if name not in names:
        raise ConfigError(f"{option}: unknown row {name!r}; known: {', '.join(names)}")
