"""Create a run folder from released checkpoints, for evaluate and search.

The data set of the checkpoints is known by their number of classes; its folder is --data.root DIR.
For other checkpoints, give its name, too: --data.name NAME.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from ibc_pyg.commands.options.numbers import whole

NAME = "import-official"
HELP = "create a run folder from released checkpoints"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--encoder", type=Path, required=True, metavar="E.pth", help="backbone")
    parser.add_argument("--mpn", type=Path, metavar="G.pth", help="message passing network")
    parser.add_argument(
        "--heads",
        type=whole(1, 1024),
        metavar="H",
        help="attention heads of the message passing network",
    )
    parser.add_argument(
        "--last-stride", action="store_true", help="trained with stride 1 in the last stage"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="RUN_DIR", help="new run folder")
    parser.set_defaults(takes_fields=True)


def run(arguments: argparse.Namespace, fields: Sequence[str]) -> int:
    """Run the command."""
    from ibc_pyg.commands.options.common import console
    from ibc_pyg.config.files.yaml_file import config_from_yaml
    from ibc_pyg.console import info
    from ibc_pyg.export.from_official import import_official

    created = import_official(
        arguments.encoder,
        arguments.mpn,
        arguments.heads,
        arguments.out,
        last_stride=arguments.last_stride,
        fields=fields,
    )
    data = config_from_yaml(created.config).data
    where = "give its folder to evaluate: --data.root DIR" if data.root is None else data.root
    info(console(), f"written: {created.path}; data set: {data.name} ({where})")
    return 0
