"""Run an experiment over a grid of settings and seeds, and write one table.

    python run.py compare experiments/glyphs.yaml --vary model.steps=0,1 --seeds 3 --out runs/steps

Finished runs are skipped, interrupted ones are resumed. Further fields, such as --train.epochs 3,
apply to all runs.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ibc_pyg.commands.trust import add_trust_code, check_named

if TYPE_CHECKING:
    from ibc_pyg.compare.runs import GridRun

NAME = "compare"
HELP = "run a grid of settings and seeds, and write one table"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "experiment",
        nargs="+",
        type=Path,
        metavar="EXPERIMENT",
        help="experiment file, YAML, and overlays on it",
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
    parser.add_argument("--seeds", type=int, default=3, help="seeds 0 .. N-1 (default: 3)")
    parser.add_argument("--out", type=Path, required=True, help="folder of all runs and the table")
    parser.add_argument("--jobs", type=int, default=1, help="runs side by side (default: 1)")
    parser.add_argument(
        "--threads",
        type=int,
        help="CPU threads of a run (default: all cores, divided among the runs)",
    )
    add_trust_code(parser, "an experiment file or a teacher")
    parser.set_defaults(takes_fields=True)


def run(arguments: argparse.Namespace, fields: Sequence[str]) -> int:
    """Run the command."""
    from ibc_pyg.commands.outputs import check_folder
    from ibc_pyg.compare.grid import make_grid
    from ibc_pyg.config.overlays import parse_overlays
    from ibc_pyg.config.renamed import current_path
    from ibc_pyg.config.yaml_file import parse_config
    from ibc_pyg.errors import ConfigError

    for name in ("seeds", "jobs", "threads"):
        given = getattr(arguments, name)
        if given is not None and given < 1:
            raise ConfigError(f"--{name} must be >= 1, not {given}")
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

    from ibc_pyg.compare.runs import make_runs
    from ibc_pyg.files import make_folder
    from ibc_pyg.runs.run_lock import locked

    runs = make_runs(points, range(arguments.seeds), arguments.out)
    check_folder(arguments.out, [run.path.parent for run in runs])
    make_folder(arguments.out)
    with locked(arguments.out):
        return _compare(arguments, runs, base, fields)


def _compare(
    arguments: argparse.Namespace, runs: Sequence[GridRun], base: Path, fields: Sequence[str]
) -> int:
    """Train the runs and write their table; return the exit code."""
    from ibc_pyg.commands.common import console
    from ibc_pyg.compare.curves import write_curves
    from ibc_pyg.compare.runs import read_results, run_grid
    from ibc_pyg.compare.table import Comparison, make_rows, to_markdown, write_tables
    from ibc_pyg.console import info
    from ibc_pyg.runs.environment import command_line, environment

    out = console()
    try:
        run_grid(
            runs,
            base,
            fields,
            workers=arguments.jobs,
            threads=arguments.threads,
            trust_code=arguments.trust_code,
            group=arguments.out.name,
            report=lambda run, status: info(out, f"{run.point.name}, seed {run.seed}: {status}"),
        )
    except KeyboardInterrupt:
        info(out, "stopped; the same command resumes")
        return 130
    results = read_results(runs)
    summaries = [summary for found in results.values() for summary in found]
    comparison = Comparison(
        make_rows(results),
        command_line(),
        environment(),
        floor=summaries[0].get("raw_pixels", {}).get("R@1"),
        chosen_on_test=any(summary["select"] == "test" for summary in summaries),
    )
    for line in to_markdown(comparison).splitlines():
        info(out, line)
    written = write_tables(comparison, arguments.out)
    curves = [(run.point.name, run.seed, run.path) for run in runs]
    written.append(write_curves(curves, arguments.out / "curves.csv"))
    for path in written:
        info(out, f"written: {path}")
    return 0
