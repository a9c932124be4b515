"""List the experiments that come with the package, or print one.

    python run.py experiments pictures > mine.yaml

An experiment in a folder, such as baselines/proxy_anchor, is an overlay: fields that change
another experiment. Those in sweeps/ are for the command sweep.
"""

from __future__ import annotations

import argparse
import itertools
import re
import sys
from collections.abc import Sequence
from pathlib import Path

NAME = "experiments"
HELP = "list the shipped experiments, or print one as a start for your own"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("name", nargs="?", metavar="NAME", help="experiment to print")


def run(arguments: argparse.Namespace, fields: Sequence[str]) -> int:
    """Run the command."""
    from ibc_pyg.commands.options.common import console
    from ibc_pyg.config.files.renamed import current_path
    from ibc_pyg.config.files.shipped import shipped_folder, shipped_names
    from ibc_pyg.console import table
    from ibc_pyg.errors import ConfigError, did_you_mean

    names = shipped_names()
    if arguments.name is None:
        rows = [{"name": name, "description": _title(shipped_folder(), name)} for name in names]
        table(rows, console=console())
        return 0
    path = current_path(Path(arguments.name))
    if not path.is_file():
        hint = did_you_mean(arguments.name, names)
        raise ConfigError(f"there is no shipped experiment {arguments.name!r}; {hint}")
    sys.stdout.write(path.read_text(encoding="utf-8"))
    return 0


def _title(folder: Path, name: str) -> str:
    """Return the first sentence of the comment at the top of an experiment."""
    lines = (folder / f"{name}.yaml").read_text(encoding="utf-8").splitlines()
    comment = itertools.takewhile(lambda line: re.match("# [^ ]", line), lines)
    text = " ".join(line.removeprefix("# ") for line in comment)
    return re.split(r"(?<!et al)\. |; |: `|\.$", text)[0]
