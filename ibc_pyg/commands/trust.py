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
        help=f"import the code that {whose} refers to, such as a layer in FILE.py:NAME; it is "
        "executed",
    )
