"""Checks of ranges and types, whose messages name the field."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from types import NoneType
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from ibc_pyg.errors import ConfigError, did_you_mean, printable
from ibc_pyg.plugins.entry_points import entry_point
from ibc_pyg.plugins.reference import is_reference

CLASS_KEYS = frozenset({"class_path", "init_args"})
"""Keys that make jsonargparse instantiate a class."""
MAX_INTEGER = 2**63
"""Integers below it are read by every library."""


@dataclass(frozen=True)
class Range:
    """Numbers that a field takes, declared as `Annotated[int, Range(1, 100)]`.

    It holds for every number of a list. Every number of a configuration has one, so that no file
    can ask for more than a machine has.

    Attributes:
        least: Lower bound.
        most: Upper bound.
        above: Whether the lower bound itself is excluded.
        below: Whether the upper bound itself is excluded.
    """

    least: float
    most: float
    above: bool = False
    below: bool = False

    def __contains__(self, value: float) -> bool:
        """Return whether a number is in the range; NaN is not."""
        low = value > self.least if self.above else value >= self.least
        return low and (value < self.most if self.below else value <= self.most)

    def __str__(self) -> str:
        """Return the interval."""
        opening, closing = "(" if self.above else "[", ")" if self.below else "]"
        return f"{opening}{self.least:.10g}, {self.most:.10g}{closing}"


def check(field_name: str, holds: bool, needs: str, value: object) -> None:
    """Raise ConfigError unless `holds`."""
    if not holds:
        raise ConfigError(f"{field_name} must be {needs}, not {_shown(value)}")


def check_name(field_name: str, name: str, known: Sequence[str]) -> None:
    """Check that a name is known, a reference to code of the user, or an entry point."""
    if name in known or is_reference(name) or entry_point(name) is not None:
        return
    choices = ", ".join((*known, "FILE.py:NAME"))
    hint = did_you_mean(name, known, otherwise=f"choose one of {choices}")
    raise ConfigError(f"{field_name} = {name!r} is unknown; {hint}")


def check_ranges(part: str, values: Any) -> None:
    """Check the declared range of each field of a dataclass.

    Raises:
        ConfigError: Naming the field, its range and its value.
    """
    for name, (allowed, optional) in ranges(values.__class__).items():
        value = getattr(values, name)
        for number in value if isinstance(value, list | tuple) else [value]:
            if number is None:
                continue
            field = f"{part}.{name}"
            if isinstance(number, float):
                check(field, math.isfinite(number), "a finite number", number)
            needs = f"in {allowed}, or none" if optional else f"in {allowed}"
            check(field, number in allowed, needs, number)


@cache
def ranges(cls: type) -> dict[str, tuple[Range, bool]]:
    """Return the declared range of each field, and whether the field may be None."""
    found: dict[str, tuple[Range, bool]] = {}
    for name, hint in get_type_hints(cls, include_extras=True).items():
        if get_origin(hint) is Annotated:
            kind, *notes = get_args(hint)
            for note in notes:
                if isinstance(note, Range):
                    found[name] = (note, NoneType in get_args(kind))
    return found


def _shown(value: object) -> str:
    """Return a value as text; that of a long integer would raise ValueError."""
    if isinstance(value, int) and abs(value) >= MAX_INTEGER:
        return f"a number of {value.bit_length()} bits"
    text = str(value)
    return text if len(text) <= 200 else f"{text[:200]} ..."


def check_plain(values: Any) -> None:
    """Check that a dataclass and those nested in it hold plain data only.

    Plain data are null, bool, int, finite float, str, lists, and dictionaries with strings as keys.
    Keys that name a class are refused: nothing in a configuration is imported or called.

    Raises:
        ConfigError: Naming the field.
    """
    for name, value in walk(values, ""):
        if isinstance(value, dict):
            for key in value:
                check_key(name, key)
        elif type(value) is float:
            check(name, math.isfinite(value), "a finite number", value)
        elif type(value) in (bool, int):
            check(name, abs(value) < MAX_INTEGER, "below 2^63", value)
        elif value is not None and type(value) not in (str, list):
            kind = type(value).__name__
            raise ConfigError(
                f"{name} must be plain data (a string, a number, true, false, null, a list or a "
                f"mapping), not a {kind}"
            )


def check_key(name: str, key: object) -> None:
    """Check that a key of a mapping is a string and does not name a class."""
    if not isinstance(key, str):
        raise ConfigError(f"{name}: the key {key!r} must be a string; write it in quotes")
    if key in CLASS_KEYS:
        raise ConfigError(
            f"{name}: {key} is refused: a configuration holds plain data only; nothing in it is "
            "imported or called"
        )


def walk(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Yield printable path and value of each item nested in dataclasses, dictionaries and lists."""
    seen = set[int]()
    rest = [(name, value)]
    while rest:
        name, value = rest.pop()
        inner: list[tuple[str, Any]] = []
        if is_dataclass(value):
            inner = [(each.name, getattr(value, each.name)) for each in fields(value)]
        else:
            yield name, value
            if isinstance(value, dict | list) and id(value) not in seen:
                # YAML aliases refer to the same object, which is visited once.
                seen.add(id(value))
                pairs = value.items() if isinstance(value, dict) else enumerate(value)
                inner = [(printable(str(key)), each) for key, each in pairs]
        rest += [(f"{name}.{key}" if name else key, each) for key, each in reversed(inner)]
