"""Find the test images of a run that are most similar to a picture."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ibc_pyg.commands.trust import add_trust_code

if TYPE_CHECKING:
    from rich.console import Console

    from ibc_pyg.retrieval.search import RunHit

NAME = "search"
HELP = "find the images most similar to a picture"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("run_dir", type=Path, metavar="RUN_DIR", help="folder of a finished run")
    parser.add_argument("image", type=Path, metavar="IMAGE", help="picture to search with")
    parser.add_argument("-k", type=int, default=10, help="number of images (default: 10)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the results as JSON")
    add_trust_code(parser, "the run")


def run(arguments: argparse.Namespace, rest: Sequence[str]) -> int:
    """Run the command."""
    from ibc_pyg.commands.common import CHOSEN_ON_TEST, console
    from ibc_pyg.commands.outputs import check_outputs
    from ibc_pyg.console import info
    from ibc_pyg.errors import UserError
    from ibc_pyg.inference.trained import load_run
    from ibc_pyg.retrieval.search import search

    if arguments.k < 1:
        raise UserError(f"-k must be >= 1, not {arguments.k}")
    if not arguments.image.is_file():
        raise UserError(f"{arguments.image} is not a file; give a picture to search with")
    check_outputs([arguments.json], inputs=[arguments.image], runs=[arguments.run_dir])
    trained, out = load_run(arguments.run_dir, trust_code=arguments.trust_code), console()
    hits = search(trained, arguments.image, arguments.k)
    print_hits(hits, out)
    if trained.config.select == "test":
        info(out, CHOSEN_ON_TEST)
    if arguments.json is not None:
        from ibc_pyg.files import write_json

        found = {"select": trained.config.select, "hits": [vars(hit) for hit in hits]}
        write_json(arguments.json, found)
    return 0


def print_hits(hits: Sequence[RunHit], out: Console) -> None:
    """Print one line per hit."""
    from ibc_pyg.console import table

    table(
        [
            {"rank": hit.rank, "similarity": hit.similarity, "class": hit.label, "image": hit.path}
            for hit in hits
        ],
        console=out,
    )
