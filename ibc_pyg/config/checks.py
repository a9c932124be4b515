"""Checks of ranges, whose messages name the field."""

from __future__ import annotations

import math
from dataclasses import fields
from typing import Any

from ibc_pyg.errors import ConfigError


def check(field_name: str, holds: bool, needs: str, value: object) -> None:
    """Raise ConfigError unless `holds`."""
    if not holds:
        raise ConfigError(f"{field_name} must be {needs}, not {value}")


def check_finite(part: str, values: Any) -> None:
    """Refuse infinity and NaN, which YAML and `float` both read."""
    for each in fields(values):
        value = getattr(values, each.name)
        if isinstance(value, float):
            check(f"{part}.{each.name}", math.isfinite(value), "a finite number", value)
