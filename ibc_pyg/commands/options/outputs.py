"""Checks of the files and folders that a command writes, before it does any work."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path


def check_outputs(
    outputs: Iterable[Path | None],
    *,
    inputs: Iterable[Path | None] = (),
    runs: Iterable[Path] = (),
    indexes: Iterable[Path] = (),
) -> None:
    """Check that files can be written and are neither read by the command nor of a run or an index.

    Devices and pipes are written into, and not checked.

    Args:
        outputs: Files that the command writes; None for an option that is not given.
        inputs: Files that the command reads.
        runs: Run folders that the command reads.
        indexes: Folders of indexes that the command reads; nothing else is written into them.

    Raises:
        UserError: Naming the output and the reason.
    """
    from ibc_pyg.errors import UserError, printable
    from ibc_pyg.files import is_stream

    taken = [each for each in inputs if each is not None]
    folders = [each.resolve() for each in runs]
    closed = [each.resolve() for each in indexes]
    for file in outputs:
        if file is None or is_stream(file):
            continue
        name, folder = printable(file), file.absolute().parent
        if not folder.is_dir():
            raise UserError(f"{name} cannot be written: its folder does not exist; create it first")
        if file.is_dir():
            raise UserError(f"{name} cannot be written: it is a folder; give a file in it")
        if not os.access(folder, os.W_OK):
            raise UserError(f"{name} cannot be written: its folder is read-only")
        if any(_same(file, each) for each in taken):
            raise UserError(f"{name} would be overwritten; give each output its own file")
        if _of_a_run(folder.resolve() / file.name, folders):
            raise UserError(f"{name} belongs to the run; write to another file")
        if any(folder.resolve().is_relative_to(each) for each in closed):
            raise UserError(f"{name} is in the folder of the index; write to another folder")
        taken.append(file)


def check_folder(folder: Path, own: Iterable[Path]) -> None:
    """Check that a folder of many runs is missing, empty, or holds some of these runs.

    Args:
        folder: The folder.
        own: Folders in it, of which one is there if the command has begun before.

    Raises:
        UserError: If it is not.
    """
    from ibc_pyg.errors import UserError, printable
    from ibc_pyg.runs.run_folder import HOLDER, LOCK

    if not folder.exists():
        return
    if not folder.is_dir():
        raise UserError(f"{printable(folder)} is a file; give another --out")
    names = sorted({each.name for each in folder.iterdir()} - {LOCK, HOLDER})
    if names and not any(each.is_dir() for each in own):
        raise UserError(
            f"{printable(folder)} is not empty: it holds {printable(names[0])} and no run of this "
            "command; choose another --out"
        )


def _same(file: Path, other: Path) -> bool:
    try:
        return file.samefile(other)
    except OSError:  # one of them is missing
        return file.resolve() == other.resolve()


def _of_a_run(file: Path, runs: Iterable[Path]) -> bool:
    """Tell whether a file is one that a run consists of.

    Args:
        file: Its path, absolute, with links resolved in its folder.
        runs: Folders that are runs; others are recognised by their files.
    """
    from ibc_pyg.runs.run_folder import RUN_FILES

    known = set(runs)
    for folder in file.parents:
        if file.relative_to(folder).parts[0] not in RUN_FILES:
            continue
        if folder in known or all((folder / each).is_file() for each in _MARKS):
            return True
    return False


_MARKS = ("config.yaml", "environment.json")
"""Files by which a run folder is recognised."""
