"""The option by which a user trusts the code that a run folder names."""

from __future__ import annotations

import argparse


def add_trust_code(parser: argparse.ArgumentParser, whose: str) -> None:
    """Declare `--trust-code`.

    Args:
        parser: Of the command.
        whose: Which folders it is about.
    """
    parser.add_argument(
        "--trust-code",
        action="store_true",
        help=f"import the graph layer that {whose} names where it is neither of PyG nor of this "
        "package: its code is executed",
    )
