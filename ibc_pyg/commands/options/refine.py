"""Options of refinement at search time."""

from __future__ import annotations

import argparse
from typing import Any

from ibc_pyg.commands.options.numbers import number, whole


def add_refine_parameters(parser: argparse.ArgumentParser) -> None:
    """Declare the parameters of methods without trained weights."""
    add = parser.add_argument
    add("--refine-k", type=whole(0, 100_000), metavar="N", help="neighbours of a descriptor")
    add("--refine-power", type=number(0, 1000), metavar="X", help="exponent of their cosines")
    add("--refine-rounds", type=whole(1, 1000), metavar="N", help="repetitions")
    add(
        "--refine-share",
        type=number(0, 1),
        metavar="X",
        help="share of the unrefined cosine in the refined one (defaults: those of the method)",
    )


def refine_parameters(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the parameters by name, None for those that were not given."""
    names = ("k", "power", "rounds", "share")
    return {name: getattr(arguments, f"refine_{name}") for name in names}


def refiner(text: str) -> str:
    """Return the name of a refinement; the type of an argparse argument."""
    from ibc_pyg.config.checks import check_name
    from ibc_pyg.config.evaluate import REFINERS
    from ibc_pyg.errors import ConfigError

    try:
        check_name("the method", text, REFINERS)
    except ConfigError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text
