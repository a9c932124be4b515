"""Numbers on the command line."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from contextlib import suppress

MOST_JOBS = 256
MOST_SEEDS = 1000
MOST_THREADS = 1024


def whole(least: int, most: int) -> Callable[[str], int]:
    """Return the type of an argparse argument: a whole number from `least` to `most`."""

    def parse(text: str) -> int:
        if re.fullmatch(r"[+-]?[0-9]{1,18}", text) and least <= int(text) <= most:
            return int(text)
        raise argparse.ArgumentTypeError(
            f"must be a whole number from {least} to {most}, not {text[:20]!r}"
        )

    return parse


def number(least: float, most: float) -> Callable[[str], float]:
    """Return the type of an argparse argument: a finite number from `least` to `most`."""

    def parse(text: str) -> float:
        with suppress(ValueError):
            if least <= (value := float(text)) <= most:
                return value
        raise argparse.ArgumentTypeError(
            f"must be a number from {least:g} to {most:g}, not {text[:20]!r}"
        )

    return parse
