"""Run an experiment over a grid of settings and seeds, and write one table.

    python run.py compare experiments/glyphs.yaml --vary model.steps=0,1 --seeds 3 --out runs/steps

What is done is skipped, what was cut is resumed. Further fields, as --train.epochs 3, hold for all.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Sequence
from pathlib import Path

from ibc_pyg.commands.trust import add_trust_code

NAME = "compare"
HELP = "run a grid of settings and seeds, and write one table"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "experiment",
        nargs="+",
        type=Path,
        metavar="EXPERIMENT",
        help="experiment file, YAML, and layers over it",
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
        help="one more row each: the experiment with this file over it",
    )
    parser.add_argument("--seeds", type=int, default=3, help="seeds 0 .. N-1 (default: 3)")
    parser.add_argument("--out", type=Path, required=True, help="folder of all runs and the table")
    parser.add_argument("--jobs", type=int, default=1, help="runs side by side (default: 1)")
    parser.add_argument(
        "--threads", type=int, help="CPU threads of a run (default: the cores, shared)"
    )
    add_trust_code(parser, "a teacher")
    parser.set_defaults(takes_fields=True)


def run(arguments: argparse.Namespace, fields: Sequence[str]) -> int:
    """Run the command."""
    from ibc_pyg.commands.common import console
    from ibc_pyg.compare.grid import make_grid
    from ibc_pyg.config.overlays import parse_overlays
    from ibc_pyg.config.renamed import current_path
    from ibc_pyg.config.yaml_file import parse_config
    from ibc_pyg.errors import ConfigError

    for name in ("seeds", "jobs", "threads"):
        given = getattr(arguments, name)
        if given is not None and given < 1:
            raise ConfigError(f"--{name} must be >= 1, not {given}")
    cells = make_grid(arguments.vary, arguments.layers)
    base, *above = map(current_path, arguments.experiment)
    for layer in [None, *arguments.layers]:
        # A mistake in a file is told with its name.
        parse_overlays([base, *above, *filter(None, [layer])], [])
    fields = [word for layer in above for word in ("--config", str(layer))] + list(fields)
    # Each setting is read before the first is run: a typing mistake costs no hours.
    configs = [parse_config(base, [*fields, *cell.overrides]) for cell in cells]
    for (cell, config), (other, same) in itertools.combinations(
        zip(cells, configs, strict=True), 2
    ):
        if config == same and other.layer is None:
            raise ConfigError(f"--vary: {cell.name} and {other.name} are the same setting")

    from ibc_pyg.compare.curves import write_curves
    from ibc_pyg.compare.runs import make_runs, read_results, run_grid
    from ibc_pyg.compare.table import Comparison, make_rows, to_markdown, write_tables
    from ibc_pyg.runs.environment import command_line, environment

    out = console()
    jobs = make_runs(cells, range(arguments.seeds), arguments.out)
    try:
        run_grid(
            jobs,
            base,
            fields,
            workers=arguments.jobs,
            threads=arguments.threads,
            trust_code=arguments.trust_code,
            group=arguments.out.name,
            report=lambda job, what: out.print(f"{job.cell.name}, seed {job.seed}: {what}"),
        )
    except KeyboardInterrupt:
        out.print("stopped; the same command goes on")
        return 130
    results = read_results(jobs)
    summaries = [summary for cell in results.values() for summary in cell]
    comparison = Comparison(
        make_rows(results),
        command_line(),
        environment(),
        floor=summaries[0].get("raw_pixels", {}).get("R@1"),
        chosen_on_test=any(summary["select"] == "test" for summary in summaries),
    )
    out.print(to_markdown(comparison))
    written = write_tables(comparison, arguments.out)
    courses = [(job.cell.name, job.seed, job.path) for job in jobs]
    written.append(write_curves(courses, arguments.out / "curves.csv"))
    for path in written:
        out.print(f"written: {path}")
    return 0
