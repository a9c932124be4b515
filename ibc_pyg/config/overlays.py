"""Experiments made of layers: a data set's file, and over it what a row of a table changes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ibc_pyg.config import Config
from ibc_pyg.config.yaml_file import in_file, parse_config
from ibc_pyg.errors import ConfigError


def parse_layers(files: Sequence[Path], overrides: Sequence[str]) -> Config:
    """Read experiment files, the fields of later ones winning, then apply options.

    A field that holds a list or a mapping of arguments is replaced as a whole.

    Args:
        files: The experiment, and layers over it.
        overrides: Options such as `--model.heads 4`.

    Raises:
        ConfigError: As `ibc_pyg.config.yaml_file.parse_config`; a layer's mistake names the layer.
    """
    base, *layers = files
    for layer in layers:
        if not layer.is_file():
            raise ConfigError(
                f"{layer} is not a file; give a layer such as experiments/baselines/*"
            )
    above = [word for layer in layers for word in ("--config", str(layer))]
    try:
        return parse_config(base, [*above, *overrides])
    except ConfigError:
        for count, layer in enumerate(layers, start=1):
            _check_layer(base, above[: 2 * count], layer)
        raise


def _check_layer(base: Path, above: Sequence[str], layer: Path) -> None:
    """Raise what is wrong with the last of the layers, its name in front."""
    try:
        parse_config(base, above)
    except ConfigError as error:
        raise in_file(layer, error) from error
