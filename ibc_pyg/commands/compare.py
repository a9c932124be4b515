"""Run an experiment over a grid of settings and seeds, and write one table.

    python run.py compare experiments/glyphs.yaml --vary model.steps=0,1 --seeds 3 --out runs/steps

Finished runs are skipped, interrupted ones are resumed. Further fields, such as --train.epochs 3,
apply to all runs. A table of runs that are finished, without training any:

    python run.py compare --from runs/a-0 runs/a-1 runs/b-0 runs/b-1 --out runs/table
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ibc_pyg.commands.options.numbers import MOST_JOBS, MOST_SEEDS, MOST_THREADS, whole
from ibc_pyg.commands.options.table_options import add_table_options
from ibc_pyg.commands.options.trust import add_trust_code, check_named

if TYPE_CHECKING:
    from ibc_pyg.compare.results import TableOptions
    from ibc_pyg.compare.rows import Setting
    from ibc_pyg.compare.runs import GridRun
    from ibc_pyg.config import TrackConfig

NAME = "compare"
HELP = "run a grid of settings and seeds, and write one table"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "experiment",
        nargs="*",
        type=Path,
        metavar="EXPERIMENT",
        help="experiment: a YAML file, or the name of a shipped one; and overlays on it",
    )
    parser.add_argument(
        "--vary", action="append", default=[], metavar="FIELD=V1,V2", help="may be given repeatedly"
    )
    parser.add_argument(
        "--layers",
        nargs="+",
        default=[],
        type=Path,
        metavar="FILE",
        help="overlays; each adds a row: the experiment with this file applied",
    )
    parser.add_argument(
        "--from",
        dest="finished",
        nargs="+",
        default=[],
        type=Path,
        metavar="RUN_DIR",
        help="finished runs, instead of an experiment; runs that differ only in their seed form "
        "one row",
    )
    parser.add_argument(
        "--reference", metavar="ROW", help="row to compare with (default: the first)"
    )
    parser.add_argument(
        "--seeds",
        type=whole(1, MOST_SEEDS),
        default=3,
        help="seeds 0 .. N-1 (default: 3)",
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
    add_table_options(parser)
    add_trust_code(parser, "an experiment file or a teacher")
    parser.set_defaults(takes_fields=True)


def run(arguments: argparse.Namespace, fields: Sequence[str]) -> int:
    """Run the command."""
    from ibc_pyg.errors import ConfigError

    for name in ("seeds", "jobs", "threads"):
        given = getattr(arguments, name)
        if given is not None and given < 1:
            raise ConfigError(f"--{name} must be >= 1, not {given}")
    if arguments.finished:
        return _of_finished(arguments, fields)
    if not arguments.experiment:
        raise ConfigError("compare needs an experiment file, or finished runs: --from RUN_DIR ...")
    return _of_grid(arguments, fields)


def _of_grid(arguments: argparse.Namespace, fields: Sequence[str]) -> int:
    """Train a grid and write its table; return the exit code."""
    from ibc_pyg.commands.options.outputs import check_folder
    from ibc_pyg.compare.grid import make_grid
    from ibc_pyg.config.files.overlays import parse_overlays
    from ibc_pyg.config.files.renamed import current_path, expand_renamed
    from ibc_pyg.config.files.yaml_file import parse_config
    from ibc_pyg.errors import ConfigError

    arguments.layers = expand_renamed(arguments.layers)
    points = make_grid(arguments.vary, arguments.layers)
    base, *above = map(current_path, arguments.experiment)
    for layer in [None, *arguments.layers]:
        # An error in a file names that file.
        parse_overlays([base, *above, *filter(None, [layer])], [])
    typed = [*fields, *arguments.vary]
    fields = [word for layer in above for word in ("--config", str(layer))] + list(fields)
    # All settings are parsed before the first run starts.
    configs = [parse_config(base, [*fields, *point.overrides]) for point in points]
    check_named(configs, typed, trust=arguments.trust_code)
    for (point, config), (other, same) in itertools.combinations(
        zip(points, configs, strict=True), 2
    ):
        if config == same and other.layer is None:
            raise ConfigError(f"--vary: {point.name} and {other.name} are the same setting")
    options = _options(arguments, [point.name for point in points])

    from ibc_pyg.compare.runs import make_runs
    from ibc_pyg.files import make_folder
    from ibc_pyg.runs.run_lock import locked

    runs = make_runs(points, range(arguments.seeds), arguments.out)
    check_folder(arguments.out, [run.path.parent for run in runs])
    make_folder(arguments.out)
    with locked(arguments.out):
        return _compare(arguments, runs, base, fields, options)


def _compare(
    arguments: argparse.Namespace,
    runs: Sequence[GridRun],
    base: Path,
    fields: Sequence[str],
    options: TableOptions,
) -> int:
    from ibc_pyg.commands.options.common import console
    from ibc_pyg.compare.runs import read_results, run_grid
    from ibc_pyg.config.files.yaml_file import parse_config
    from ibc_pyg.console import info
    from ibc_pyg.jobs.time_left import TimeLeft

    out, left = console(), TimeLeft(len(runs), arguments.jobs)

    def report(run: GridRun, status: str) -> None:
        info(out, f"{run.point.name}, seed {run.seed}: {left.note(run.path, status)}")

    try:
        run_grid(
            runs,
            base,
            fields,
            workers=arguments.jobs,
            threads=arguments.threads,
            trust_code=arguments.trust_code,
            group=arguments.out.name,
            report=report,
            say=lambda line: info(out, line),
        )
    except KeyboardInterrupt:
        info(out, "stopped; the same command resumes")
        return 130
    curves = [(run.point.name, run.seed, run.path) for run in runs]
    track = parse_config(base, fields).track
    return _write(read_results(runs), curves, arguments.out, options, track)


def _of_finished(arguments: argparse.Namespace, fields: Sequence[str]) -> int:
    """Write the table of finished runs; return the exit code."""
    from ibc_pyg.commands.options.outputs import check_folder
    from ibc_pyg.compare.finished import find_rows, read_rows
    from ibc_pyg.errors import ConfigError
    from ibc_pyg.files import make_folder
    from ibc_pyg.runs.run_lock import locked

    if arguments.experiment or arguments.vary or arguments.layers or fields:
        raise ConfigError("--from takes finished runs; leave out the experiment and its fields")
    rows = find_rows(arguments.finished)
    options = _options(arguments, [row.name for row in rows])
    results = read_rows(rows)
    if not (arguments.out / "table.json").is_file():
        check_folder(arguments.out, [])
    make_folder(arguments.out)
    with locked(arguments.out):
        curves = [
            (row.name, seed, path)
            for row in rows
            for seed, path in zip(row.seeds, row.paths, strict=True)
        ]
        return _write(results, curves, arguments.out, options)


def _options(arguments: argparse.Namespace, names: Sequence[str]) -> TableOptions:
    from ibc_pyg.compare.results import TableOptions
    from ibc_pyg.compare.rows import parse_labels
    from ibc_pyg.errors import ConfigError, did_you_mean

    if arguments.reference is not None and arguments.reference not in names:
        hint = did_you_mean(arguments.reference, names)
        raise ConfigError(f"--reference: there is no row {arguments.reference!r}; {hint}")
    return TableOptions(arguments.show, arguments.reference, parse_labels(arguments.label, names))


def _write(
    results: Mapping[Setting, Sequence[Mapping[str, Any]]],
    curves: Sequence[tuple[str, int, Path]],
    folder: Path,
    options: TableOptions,
    track: TrackConfig | None = None,
) -> int:
    from ibc_pyg.commands.options.common import console
    from ibc_pyg.compare.publish import publish_tables
    from ibc_pyg.compare.results import compare_results, write_results
    from ibc_pyg.compare.table import to_markdown
    from ibc_pyg.console import info

    out, comparison = console(), compare_results(results, options)
    for line in to_markdown(comparison).splitlines():
        info(out, line)
    written = write_results(comparison, curves, folder, options)
    for path in written:
        info(out, f"written: {path}")
    if track is not None and (command := publish_tables(track, folder, written)) is not None:
        info(out, f"upload to W&B: {command}")
    return 0
