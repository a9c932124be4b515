"""The option `--trust-code`, which allows to import the code named in a run folder."""

from __future__ import annotations

import argparse


def add_trust_code(parser: argparse.ArgumentParser, whose: str) -> None:
    """Declare `--trust-code`.

    Args:
        parser: Parser of the command.
        whose: Folders that the option applies to, for the help text.
    """
    parser.add_argument(
        "--trust-code",
        action="store_true",
        help=f"import the graph layer of {whose} if it is neither of PyG nor of this package; its "
        "code is executed",
    )
