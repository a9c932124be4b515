"""Folder for caches of drawn glyphs and decoded images, which only its owner may change."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

from ibc_pyg.errors import DatasetError, printable


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


def make_private(folder: Path) -> None:
    """Make a cache folder that only the user can change, or check the one that exists.

    Raises:
        OSError: If it cannot be made.
        DatasetError: As `check_private`.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.mkdir(mode=0o700, exist_ok=True)
    check_private(folder)


def check_private(folder: Path) -> None:
    """Check that no other user can replace what is cached in a folder.

    It must belong to the user or to root, and others must not be able to write into it, except
    that they may add files of their own to a folder with the sticky bit. A group may write if it
    is the private group of the owner, of the same number. Windows is not checked.

    Raises:
        OSError: If the folder is missing.
        DatasetError: Naming the folder and the remedy.
    """
    if not hasattr(os, "geteuid"):
        return
    found = folder.stat()
    where = f"{printable(folder)}: the cache is not used, since"
    if found.st_uid not in (os.geteuid(), 0):
        raise DatasetError(
            f"{where} the folder belongs to another user; choose another with IBC_PYG_CACHE"
        )
    shared = stat.S_IWOTH if found.st_gid == found.st_uid else stat.S_IWOTH | stat.S_IWGRP
    if found.st_mode & shared and not found.st_mode & stat.S_ISVTX:
        raise DatasetError(
            f"{where} other users can write into it: chmod go-w {printable(folder)}, or choose "
            "another with IBC_PYG_CACHE"
        )
