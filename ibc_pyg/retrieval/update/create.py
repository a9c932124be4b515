"""Preparation of the folder of an index that is to be built."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from ibc_pyg.errors import RunError, printable, program, reason
from ibc_pyg.files import make_folder
from ibc_pyg.retrieval.store.catalogue import read_state
from ibc_pyg.retrieval.store.connection import Connection, create
from ibc_pyg.retrieval.store.roots import Source, roots
from ibc_pyg.retrieval.store.writer import CATALOGUE
from ibc_pyg.runs.run_folder import HOLDER, LOCK
from ibc_pyg.runs.run_lock import locked


def check_folder(folder: Path, source: Source) -> None:
    """Check that an index of a source can be built in a folder, or its build be continued.

    Raises:
        RunError: If the folder holds a finished index, one of other pictures, or anything else.
    """
    name = printable(folder)
    if not folder.exists():
        return
    if not folder.is_dir():
        raise RunError(f"{name} is a file; choose another --out")
    if (folder / CATALOGUE).exists():
        connection = Connection(folder / CATALOGUE)
        with connection.reading() as sql:
            complete, known = read_state(sql).complete, roots(sql)
        connection.close()
        if complete:
            raise RunError(
                f"{name} already holds an index; bring it up to date: {program()} index sync {name}"
            )
        if any(each != source for _, each in known):
            raise RunError(
                f"{name} holds an unfinished index of {known[0][1]}; finish it ({program()} index "
                f"sync {name}), or choose another --out"
            )
        return
    try:
        others = sorted(each.name for each in folder.iterdir() if not _is_own(each.name))
    except OSError as error:
        raise RunError(f"{name} cannot be read: {reason(error)}") from error
    if others:
        raise RunError(
            f"{name} is not empty: it holds {printable(others[0])}; choose another --out"
        )


def _is_own(name: str) -> bool:
    return name in (LOCK, HOLDER) or name.startswith((f".{CATALOGUE}.", f".{HOLDER}."))


def prepare_folder(folder: Path, source: Source, model: str, place: object | None) -> None:
    """Make the folder of an index with an empty catalogue, unless it is there.

    Args:
        folder: The folder.
        source: The pictures that are to come.
        model: Fingerprint of the model, as JSON.
        place: Where the model can be opened again; a dataclass.

    Raises:
        RunError: As `check_folder`, if the folder cannot be written, or another process works in
            it.
    """
    check_folder(folder, source)
    make_folder(folder)
    with locked(folder):
        if (folder / CATALOGUE).exists():
            return
        meta: dict[str, str | int] = {"rows": 0, "generation": 1, "complete": 0, "model": model}
        meta["source"] = json.dumps(None if place is None else asdict(place))  # type: ignore[call-overload]
        create(folder / CATALOGUE, meta)
