"""Score a finished run on the test images again, from its weights."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

NAME = "evaluate"
HELP = "score a run on unseen classes"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("run_dir", type=Path, metavar="RUN_DIR", help="folder of a finished run")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the metrics there")


def run(arguments: argparse.Namespace, rest: Sequence[str]) -> int:
    """Run the command."""
    from ibc_pyg.commands.common import console, metric_row
    from ibc_pyg.console import table
    from ibc_pyg.engine.evaluate import score
    from ibc_pyg.engine.files import write_json
    from ibc_pyg.engine.load import load_run

    trained = load_run(arguments.run_dir)
    metrics = score(
        trained.described(fresh=True), trained.config.evaluate, seed=trained.config.train.seed
    )
    out = console()
    table([metric_row(trained.run.path.name, metrics)], console=out)
    if arguments.json is not None:
        write_json(arguments.json, metrics)
    return 0
