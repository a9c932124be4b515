"""Default folder for caches: drawn glyphs and decoded images."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def default_cache_dir() -> Path:
    """Return the cache folder: $IBC_PYG_CACHE, $XDG_CACHE_HOME/ibc_pyg or ~/.cache/ibc_pyg."""
    if folder := os.environ.get("IBC_PYG_CACHE"):
        return Path(folder)
    if xdg := os.environ.get("XDG_CACHE_HOME"):
        return Path(xdg) / "ibc_pyg"
    try:
        return Path.home() / ".cache" / "ibc_pyg"
    except RuntimeError:  # the user of a container may have no home
        return Path(tempfile.gettempdir()) / "ibc_pyg"
