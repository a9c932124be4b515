"""The option `--trust-code`, which allows importing code that a file names."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ibc_pyg.config import Config


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


def named_code(configs: Iterable[Config], words: Sequence[str]) -> frozenset[str]:
    """Return the plugged code of experiments that the command line itself names."""
    from ibc_pyg.config.plugged import plugged_code

    names = frozenset(name for config in configs for name in plugged_code(config))
    return frozenset(name for name in names if any(name in word for word in words))


def check_named(configs: Sequence[Config], words: Sequence[str], *, trust: bool) -> None:
    """Refuse experiments that name code which the command line neither names nor trusts.

    Args:
        configs: The experiments, as their files and the command line make them.
        words: Options of the command line.
        trust: Whether `--trust-code` is given.

    Raises:
        ConfigError: Naming the file or module, and the option that trusts it.
    """
    if trust:
        return
    from ibc_pyg.config.plugged import plugged, plugged_code
    from ibc_pyg.errors import ConfigError, printable

    for config in configs:
        unnamed = plugged_code(config) - named_code([config], words)
        for each in plugged(config):
            if each.name not in unnamed:
                continue
            place = f"import {each.module}"
            if each.file is not None:
                place = f"execute the file {each.file}"
            raise ConfigError(
                f"the experiment names {printable(each.name)} in {each.field}, which would "
                f"{printable(place)}; if you trust that code, add --trust-code"
            )
