"""Make an index of pictures on disk, keep it up to date, and examine it.

The first search on your own photographs:
    python run.py index build resnet50 photos --out photos.index
    python run.py search photos.index query.jpg
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from ibc_pyg.commands.index import content, duplicates, look, order, shards, state

NAME = "index"
HELP = "build an index of pictures, keep it up to date, examine it"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the actions and their arguments."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    for part in (content, shards, state, look, duplicates, order):
        part.add_actions(actions)


def run(arguments: argparse.Namespace, rest: Sequence[str]) -> int:
    """Run the action."""
    return int(arguments.act(arguments))
