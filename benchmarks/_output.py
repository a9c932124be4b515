"""Output files of a benchmark."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any


def add_outputs(parser: argparse.ArgumentParser) -> None:
    """Declare `--json` and `--markdown`."""
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all numbers")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the table")


def write_outputs(args: argparse.Namespace, report: dict[str, Any], table: str) -> None:
    """Print the table, and write the files that `args` names."""
    print("\n" + table)
    if args.json:
        args.json.write_text(json.dumps(report, indent=1) + "\n")
    if args.markdown:
        args.markdown.write_text(table)
