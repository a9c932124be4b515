"""Experiments with overlays: an experiment file, and files with changes to its fields."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ibc_pyg.config import Config
from ibc_pyg.config.files.renamed import current_path
from ibc_pyg.config.files.yaml_file import in_file, parse_config
from ibc_pyg.errors import ConfigError


def parse_overlays(files: Sequence[Path], overrides: Sequence[str]) -> Config:
    """Read an experiment file, apply overlays in order, then options.

    A field that holds a list or a mapping of arguments is replaced as a whole.

    Args:
        files: The experiment, and overlays on it.
        overrides: Options such as `--model.heads 4`.

    Raises:
        ConfigError: As `ibc_pyg.config.files.yaml_file.parse_config`; for an error in an
            overlay, the message names the overlay.
    """
    base, *overlays = map(current_path, files)
    for overlay in overlays:
        if not overlay.is_file():
            raise ConfigError(
                f"{overlay} is not a file; give an overlay such as baselines/proxy_anchor"
            )
    words = [word for overlay in overlays for word in ("--config", str(overlay))]
    try:
        return parse_config(base, [*words, *overrides])
    except ConfigError:
        for count, overlay in enumerate(overlays, start=1):
            _check_overlay(base, words[: 2 * count], overlay)
        raise


def _check_overlay(base: Path, words: Sequence[str], overlay: Path) -> None:
    """Raise the error of the last overlay in `words`, with its name."""
    try:
        parse_config(base, words)
    except ConfigError as error:
        raise in_file(overlay, error) from error
