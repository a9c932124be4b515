"""Grid of the settings of a comparison."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ibc_pyg.config.files.renamed import current_path
from ibc_pyg.errors import ConfigError, printable

_OPENING, _CLOSING = "[{(", ")}]"
_MOST_POINTS = 1000


@dataclass(frozen=True)
class GridPoint:
    """One setting of the grid, trained once for each seed.

    Attributes:
        values: Each varied field and its value, as text.
        layer: Overlay on the experiment file; None for the experiment itself.
    """

    values: tuple[tuple[str, str], ...]
    layer: Path | None = None

    @property
    def name(self) -> str:
        """Short name: the overlay, and the last part of each field with its value."""
        words = [] if self.layer is None else [self.layer.stem]
        words += [f"{field.rpartition('.')[2]}={value}" for field, value in self.values]
        return " ".join(words) or "as-is"

    @property
    def folder(self) -> str:
        """Name that is safe as a folder name."""
        kept = (
            character if character.isalnum() or character in "=.-_" else "_"
            for character in self.name
        )
        return "".join(kept)

    @property
    def overrides(self) -> list[str]:
        """Command-line options."""
        layer = [] if self.layer is None else ["--config", str(current_path(self.layer))]
        return layer + [word for field, value in self.values for word in (f"--{field}", value)]


def make_grid(vary: Sequence[str], layers: Sequence[Path] = ()) -> list[GridPoint]:
    """Return the product of all variations; the first point is the reference of the comparison.

    Args:
        vary: `FIELD=VALUE,VALUE,...` each; commas within brackets do not separate values.
        layers: Overlays on the experiment; the product starts with none of them.

    Raises:
        ConfigError: If one has no field, no value, or a value twice, an overlay is not a file, or
            there are more than a thousand settings.
    """
    axes: list[list[tuple[str, str]]] = []
    for text in vary:
        field, equals, rest = text.partition("=")
        values = divide(rest)
        if not field or not equals or "" in values:
            raise ConfigError(f"--vary {text!r} must read FIELD=VALUE,VALUE,...")
        if len(set(values)) < len(values):
            raise ConfigError(f"--vary {text!r} has a value twice")
        if field == "train.seed":
            raise ConfigError("--vary train.seed: the seeds are 0 .. N-1 of --seeds N")
        if any(axis[0][0] == field for axis in axes):
            raise ConfigError(
                f"--vary: {printable(field)} is given twice; list all its values in one"
            )
        axes.append([(field, value) for value in values])
    for layer in layers:
        if not current_path(layer).is_file():
            raise ConfigError(f"--layers: {layer} is not a file")
    if (1 + len(layers)) * math.prod(map(len, axes)) > _MOST_POINTS:
        raise ConfigError(
            f"--vary, --layers: there are more than {_MOST_POINTS} settings; give fewer"
        )
    points = [
        GridPoint(values, layer) for layer in (None, *layers) for values in itertools.product(*axes)
    ]
    if len({point.folder for point in points}) < len(points):
        raise ConfigError(
            "--vary, --layers: two settings have the same name; name each field and file once"
        )
    return points


def divide(text: str) -> list[str]:
    """Return the parts between commas, except commas within brackets."""
    parts, depth = [""], 0
    for character in text:
        depth += (character in _OPENING) - (character in _CLOSING)
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts]
