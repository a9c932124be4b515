"""Write the HTML report of a run."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from ibc_pyg.commands.options.data_fields import add_data_fields, data_fields
from ibc_pyg.commands.options.trust import add_trust_code

NAME = "report"
HELP = "write the HTML report of a run"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("run_dir", type=Path, metavar="RUN_DIR", help="folder of a finished run")
    add_trust_code(parser, "the run")
    add_data_fields(parser)


def run(arguments: argparse.Namespace, rest: Sequence[str]) -> int:
    """Run the command."""
    from ibc_pyg.commands.options.common import console
    from ibc_pyg.console import info
    from ibc_pyg.inference.eval_set import EvalSet
    from ibc_pyg.inference.trained import load_run
    from ibc_pyg.report.from_run import make_report

    fields = data_fields(rest, NAME)
    trained = load_run(arguments.run_dir, trust_code=arguments.trust_code, fields=fields)
    make_report(EvalSet(trained))
    info(console(), f"report: {trained.run.report}")
    return 0
