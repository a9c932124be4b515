"""Replacement of a whole folder in one step."""

from __future__ import annotations

import ctypes
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ibc_pyg.errors import RunError, printable, reason
from ibc_pyg.files import sync_folder

_AT_FDCWD, _EXCHANGE = -100, 2


@contextmanager
def new_folder(path: Path, *, is_own: Callable[[Path], bool]) -> Iterator[Path]:
    """Yield a draft beside `path` that takes its place at the end; after an error it is removed.

    A process that is killed leaves the old folder as it was, and a hidden draft beside it, which
    the next call removes.

    Args:
        path: The folder.
        is_own: Tells whether a folder that is not empty may be replaced.

    Raises:
        RunError: If `path` is anything else, or cannot be written.
    """
    if path.is_symlink() or (path.exists() and not path.is_dir()):
        raise RunError(f"{printable(path)} is not a folder; choose another --out")
    if path.exists() and any(path.iterdir()) and not is_own(path):
        raise RunError(
            f"{printable(path)} is not empty and not a published folder; choose another --out"
        )
    for left in path.parent.glob(f".{path.name}.draft-*"):
        shutil.rmtree(left, ignore_errors=True)
    draft = path.with_name(f".{path.name}.draft-{secrets.token_hex(8)}")
    try:
        draft.mkdir(parents=True)
        yield draft
        for folder, _, names in os.walk(draft):
            for name in names:
                with (Path(folder) / name).open("rb") as file:
                    os.fsync(file.fileno())
            sync_folder(Path(folder))
        if path.exists():
            _exchange(draft, path)
        else:
            draft.rename(path)
        sync_folder(path.parent)
    except OSError as error:
        raise RunError(f"{printable(path)} cannot be written: {reason(error)}") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _exchange(draft: Path, path: Path) -> None:
    """Exchange two folders, in one step where the system can (Linux)."""
    call = (
        getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
        if os.name == "posix"
        else None
    )
    names = os.fsencode(draft), os.fsencode(path)
    if call is not None and not call(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _EXCHANGE):
        return
    aside = draft.with_name(f"{draft.name}-old")
    path.rename(aside)
    try:
        draft.rename(path)
    except OSError:
        aside.rename(path)
        raise
    shutil.rmtree(aside, ignore_errors=True)
