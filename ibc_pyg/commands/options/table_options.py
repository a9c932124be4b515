"""Options of the tables that `compare` and `sweep` write."""

from __future__ import annotations

import argparse


def add_table_options(parser: argparse.ArgumentParser) -> None:
    """Declare `--show` and `--label`."""
    parser.add_argument(
        "--show",
        choices=("ci", "sd", "se"),
        default="ci",
        help="what follows each mean: half of the 95 %% interval, the standard deviation, or the "
        "standard error (default: ci)",
    )
    parser.add_argument(
        "--label",
        action="append",
        default=[],
        metavar="NAME=TEXT",
        help="text shown for a row in tables and figures; may be given repeatedly",
    )
