"""Fields of `data` that commands on a finished run take, for data that moved or was damaged."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from ibc_pyg.errors import UserError, program

FIELDS = ("--data.root", "--data.on_error", "--data.workers", "--data.cache")


def add_data_fields(parser: argparse.ArgumentParser) -> None:
    """Declare the options, which are read by `data_fields`."""
    group = parser.add_argument_group("fields of the experiment")
    group.add_argument("--data.root", metavar="DIR", help="folder of the images, if they moved")
    group.add_argument(
        "--data.on_error", metavar="stop|skip", help="skip: leave out images that cannot be read"
    )
    group.add_argument("--data.workers", metavar="N", help="processes that read images")
    group.add_argument("--data.cache", metavar="BOOL", help="read images from a cache")
    parser.set_defaults(takes_fields=True)


def data_fields(fields: Sequence[str], command: str) -> list[str]:
    """Return the fields given on the command line.

    Raises:
        UserError: If one of them is not for finished runs.
    """
    for word in fields:
        if word.startswith("-") and word.partition("=")[0] not in FIELDS:
            raise UserError(f"unknown argument {word}; see `{program()} {command} --help`")
    return list(fields)
