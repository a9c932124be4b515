"""Checks of ranges and types, whose messages name the field."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

from ibc_pyg.errors import ConfigError, did_you_mean
from ibc_pyg.plugins.entry_points import entry_point
from ibc_pyg.plugins.reference import is_reference

CLASS_KEYS = frozenset({"class_path", "init_args"})
"""Keys that make jsonargparse instantiate a class."""


def check(field_name: str, holds: bool, needs: str, value: object) -> None:
    """Raise ConfigError unless `holds`."""
    if not holds:
        raise ConfigError(f"{field_name} must be {needs}, not {value}")


def check_name(field_name: str, name: str, known: Sequence[str]) -> None:
    """Check that a name is known, a reference to code of the user, or an entry point."""
    if name in known or is_reference(name) or entry_point(name) is not None:
        return
    choices = ", ".join((*known, "FILE.py:NAME"))
    hint = did_you_mean(name, known, otherwise=f"choose one of {choices}")
    raise ConfigError(f"{field_name} = {name!r} is unknown; {hint}")


def check_finite(part: str, values: Any) -> None:
    """Check for infinity and NaN, which YAML and `float` accept."""
    for each in fields(values):
        value = getattr(values, each.name)
        if isinstance(value, float):
            check(f"{part}.{each.name}", math.isfinite(value), "a finite number", value)


def check_plain(values: Any) -> None:
    """Check that a dataclass and those nested in it hold plain data only.

    Plain data are null, bool, int, float, str, lists, and dictionaries with strings as keys. Keys
    that name a class are refused: nothing in a configuration is imported or called.

    Raises:
        ConfigError: Naming the field.
    """
    for name, value in walk(values, ""):
        if isinstance(value, dict):
            for key in value:
                check_key(name, key)
        elif value is not None and type(value) not in (bool, int, float, str, list):
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
    """Yield the path and the value of each item nested in dataclasses, dictionaries and lists."""
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
                inner = [(str(key), each) for key, each in pairs]
        rest += [(f"{name}.{key}" if name else key, each) for key, each in reversed(inner)]
