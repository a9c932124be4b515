"""Which runs a comparison is made of."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from ibc_pyg.errors import ConfigError

_OPENING, _CLOSING = "[{(", ")}]"


@dataclass(frozen=True)
class Cell:
    """One setting of the grid; it is run once a seed.

    Attributes:
        values: Value of each varied field, as text.
    """

    values: tuple[tuple[str, str], ...]

    @property
    def name(self) -> str:
        """Short name: the last part of each field and its value."""
        if not self.values:
            return "as-is"
        return " ".join(f"{field.rpartition('.')[2]}={value}" for field, value in self.values)

    @property
    def folder(self) -> str:
        """Name that is safe as a folder."""
        kept = (
            character if character.isalnum() or character in "=.-_" else "_"
            for character in self.name
        )
        return "".join(kept)

    @property
    def overrides(self) -> list[str]:
        """Options of the command line."""
        return [word for field, value in self.values for word in (f"--{field}", value)]


def make_grid(vary: Sequence[str]) -> list[Cell]:
    """Return the product of all variations; the first cell is what the others are compared with.

    Args:
        vary: `FIELD=VALUE,VALUE,...` each; commas within brackets do not divide.

    Raises:
        ConfigError: If one has no field, no value, or a value twice.
    """
    axes = []
    for text in vary:
        field, equals, rest = text.partition("=")
        values = divide(rest)
        if not field or not equals or "" in values:
            raise ConfigError(f"--vary {text!r} must read FIELD=VALUE,VALUE,...")
        if len(set(values)) < len(values):
            raise ConfigError(f"--vary {text!r} has a value twice")
        axes.append([(field, value) for value in values])
    cells = [Cell(values) for values in itertools.product(*axes)]
    if len({cell.folder for cell in cells}) < len(cells):
        raise ConfigError("--vary: two settings have the same name; name each field once")
    return cells


def divide(text: str) -> list[str]:
    """Return the parts between commas; those within brackets do not divide."""
    parts, depth = [""], 0
    for character in text:
        depth += (character in _OPENING) - (character in _CLOSING)
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts]
