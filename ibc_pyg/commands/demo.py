"""Run all steps in a few minutes, on the built-in data set Glyphs.

Renders the data set, trains with the batch graph, evaluates on characters not seen in training,
searches by image, and writes the report.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from ibc_pyg.commands.options.process import keep_freed_memory

NAME = "demo"
HELP = "train, evaluate and search the built-in data set, in a few minutes"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--out", type=Path, help="run folder (default: runs/demo-TIME)")
    parser.set_defaults(takes_fields=True)


def run(arguments: argparse.Namespace, fields: Sequence[str]) -> int:
    """Run the command."""
    keep_freed_memory()
    from ibc_pyg.commands.options.common import console, default_out, print_summary
    from ibc_pyg.config.files.shipped import shipped_folder
    from ibc_pyg.config.files.yaml_file import parse_config
    from ibc_pyg.console import info
    from ibc_pyg.errors import program

    config = parse_config(shipped_folder() / "glyphs.yaml", fields)

    from ibc_pyg.commands.search import print_hits
    from ibc_pyg.inference.eval_set import EvalSet
    from ibc_pyg.inference.trained import load_run
    from ibc_pyg.retrieval.search import search
    from ibc_pyg.training.faults.interrupt import TrainingInterrupted
    from ibc_pyg.training.run import train

    out = console()
    try:
        folder = train(config, arguments.out or default_out("demo"), out)
    except TrainingInterrupted:
        return 130
    trained = load_run(folder.path, trust_code=True)
    images = EvalSet(trained)
    query = images.picture_file(int(images.splits.tested().queries[0]))
    info(out, "")
    info(out, f"search by image: {program()} search {folder.path} {query} -k 10")
    print_hits(search(trained, query, 10), out)
    info(out, "")
    print_summary(folder, out)
    return 0
