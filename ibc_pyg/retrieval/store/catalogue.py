"""Catalogue of an index: what its rows are called, where they come from, what was skipped."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from ibc_pyg.errors import RunError

Cursor = sqlite3.Cursor


@dataclass(frozen=True, slots=True)
class State:
    """State of an index.

    Attributes:
        rows: Committed vectors, of which some may have no name any more.
        generation: Number of the vector file.
        complete: Whether the last build or sync came to its end.
    """

    rows: int
    generation: int
    complete: bool


@dataclass(frozen=True, slots=True)
class Name:
    """A file that an index knows.

    Attributes:
        root: Number of its root.
        path: Path relative to the root, with `/`.
        row: Row of its vector; None if the vector is gone, which only happens to removed names.
        size: Bytes.
        mtime_ns: Time of its last change.
        label: Class; None without one.
        removed: Whether it was removed by hand, and is left out by `sync`.
    """

    root: int
    path: str
    row: int | None
    size: int
    mtime_ns: int
    label: str | None
    removed: bool = False


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file that is not indexed.

    Attributes:
        root: Number of its root.
        path: Path relative to the root.
        size: Bytes; None if it could not be opened, and is tried again by every `sync`.
        mtime_ns: Time of its last change, or None.
        reason: Why it is skipped.
    """

    root: int
    path: str
    size: int | None
    mtime_ns: int | None
    reason: str


def damaged(what: str) -> RunError:
    """Return the error of a catalogue whose content contradicts itself."""
    return RunError(
        f"the catalogue of the index is damaged: {what}; restore the folder, or build it again"
    )


def stored(path: str) -> str | bytes:
    """Return a path as it is stored: text, or bytes if the file name is not UTF-8."""
    return path if _is_text(path) else os.fsencode(path)


def _is_text(text: str) -> bool:
    """Tell whether SQLite can hold it as text: bytes that are not UTF-8 cannot be encoded."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def read_state(sql: Cursor) -> State:
    """Return the state of the index.

    Raises:
        RunError: If it is damaged.
    """
    values = [read_meta(sql, key) for key in ("rows", "generation", "complete")]
    rows, generation, complete = (v if isinstance(v, int) else -1 for v in values)
    if rows < 0 or generation < 1 or complete not in (0, 1):
        raise damaged("its state is missing")
    return State(rows, generation, bool(complete))


def read_meta(sql: Cursor, key: str) -> str | int | None:
    """Return a value of the table `meta`; None if there is none."""
    found = sql.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
    return found[0] if found is not None and isinstance(found[0], str | int) else None


def write_meta(sql: Cursor, **values: str | int) -> None:
    """Set values of the table `meta`."""
    sql.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", values.items())


_NAME = "SELECT root, path, row, size, mtime_ns, label, removed FROM names"


def _name(found: tuple[Any, ...]) -> Name:
    root, path, row, size, mtime_ns, label, removed = found
    if not (
        isinstance(path, str | bytes)
        and isinstance(row, int | None)
        and isinstance(label, str | None)
        and all(isinstance(each, int) for each in (root, size, mtime_ns, removed))
    ):
        raise damaged("the name of a file is none")
    return Name(root, os.fsdecode(path), row, size, mtime_ns, label, bool(removed))


def find_name(sql: Cursor, root: int, path: str) -> Name | None:
    """Return the name of a file, removed ones included."""
    query = f"{_NAME} WHERE root = ? AND path = ?"
    found = sql.execute(query, (root, stored(path))).fetchone()
    return None if found is None else _name(found)


def names(sql: Cursor, root: int | None = None) -> Iterator[Name]:
    """Yield the names of a root, or all, in the order in which they came."""
    if root is None:
        found = sql.execute(f"{_NAME} ORDER BY id")
    else:
        found = sql.execute(f"{_NAME} WHERE root = ? ORDER BY id", (root,))
    return map(_name, found)


def names_of_row(sql: Cursor, row: int) -> list[Name]:
    """Return the names of a vector that are not removed, in the order in which they came."""
    query = f"{_NAME} WHERE row = ? AND removed = 0 ORDER BY id"
    return [_name(found) for found in sql.execute(query, (row,))]


def labels_in_use(sql: Cursor) -> list[str]:
    """Return the classes of all names that are not removed, sorted."""
    query = "SELECT DISTINCT label FROM names WHERE label IS NOT NULL AND removed = 0"
    return sorted(label for (label,) in sql.execute(query))


def label_in_use(sql: Cursor, label: str) -> bool:
    """Return whether a name that is not removed has a class."""
    query = "SELECT 1 FROM names WHERE label = ? AND removed = 0 LIMIT 1"
    return _is_text(label) and sql.execute(query, (label,)).fetchone() is not None


def rows_with_label(sql: Cursor, label: str | None) -> list[int]:
    """Return the rows that have a name of this class, ascending."""
    if label is not None and not _is_text(label):
        return []
    found = sql.execute(
        "SELECT DISTINCT row FROM names WHERE label IS ? AND removed = 0 ORDER BY row", (label,)
    )
    return _rows(sql, found)


def unused_rows(sql: Cursor) -> list[int]:
    """Return the rows without a name, ascending."""
    return _rows(sql, sql.execute("SELECT row FROM contents WHERE uses = 0 ORDER BY row"))


def _rows(sql: Cursor, found: Iterable[tuple[Any]]) -> list[int]:
    rows = [row for (row,) in found]
    if rows and not all(isinstance(row, int) for row in rows):
        raise damaged("a row is not a number")
    if rows and not 0 <= rows[0] <= rows[-1] < read_state(sql).rows:
        raise damaged(f"there is no vector in row {rows[-1]}")
    return rows


def find_content(sql: Cursor, sha256: bytes) -> tuple[int, int] | None:
    """Return row and number of names of a content; None if it is not there."""
    found: tuple[int, int] | None = sql.execute(
        "SELECT row, uses FROM contents WHERE sha256 = ?", (sha256,)
    ).fetchone()
    return found


def digest_of_row(sql: Cursor, row: int) -> bytes:
    """Return the SHA-256 of the content of a row.

    Raises:
        RunError: If there is no such row.
    """
    found = sql.execute("SELECT sha256 FROM contents WHERE row = ?", (row,)).fetchone()
    if found is None or not isinstance(found[0], bytes):
        raise damaged(f"row {row} has no hash")
    return found[0]


def add_contents(sql: Cursor, contents: Iterable[tuple[int, bytes, int]]) -> None:
    """Add contents without names: row, SHA-256 and CRC-32 of the vector."""
    sql.executemany("INSERT INTO contents VALUES (?, ?, ?, 0)", contents)


def put_name(sql: Cursor, name: Name) -> None:
    """Add a name or change it; it is no longer skipped."""
    path = stored(name.path)
    _release(sql, name.root, path)
    sql.execute(
        "INSERT INTO names(root, path, row, size, mtime_ns, label, removed) "
        "VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT(root, path) DO UPDATE SET row = excluded.row, "
        "size = excluded.size, mtime_ns = excluded.mtime_ns, label = excluded.label, "
        "removed = excluded.removed",
        (name.root, path, name.row, name.size, name.mtime_ns, name.label, name.removed),
    )
    if not name.removed:
        sql.execute("UPDATE contents SET uses = uses + 1 WHERE row = ?", (name.row,))
    sql.execute("DELETE FROM skipped WHERE root = ? AND path = ?", (name.root, path))


def drop_name(sql: Cursor, root: int, path: str) -> None:
    """Forget a name, if it is there; its vector stays until `compact`."""
    _release(sql, root, stored(path))
    sql.execute("DELETE FROM names WHERE root = ? AND path = ?", (root, stored(path)))


def _release(sql: Cursor, root: int, path: str | bytes) -> None:
    sql.execute(
        "UPDATE contents SET uses = uses - 1 WHERE row = "
        "(SELECT row FROM names WHERE root = ? AND path = ? AND removed = 0)",
        (root, path),
    )


def put_skipped(sql: Cursor, skipped: Skipped) -> None:
    """Record a file that cannot be indexed; a name that it had is dropped."""
    drop_name(sql, skipped.root, skipped.path)
    sql.execute(
        "INSERT OR REPLACE INTO skipped VALUES (?, ?, ?, ?, ?)",
        (skipped.root, stored(skipped.path), skipped.size, skipped.mtime_ns, skipped.reason),
    )


def drop_skipped(sql: Cursor, root: int, path: str) -> None:
    """Forget a skipped file."""
    sql.execute("DELETE FROM skipped WHERE root = ? AND path = ?", (root, stored(path)))


def skipped_files(sql: Cursor, root: int | None = None) -> Iterator[Skipped]:
    """Yield the skipped files of a root, or all, by path."""
    found = sql.execute("SELECT root, path, size, mtime_ns, reason FROM skipped ORDER BY 1, 2")
    for number, path, size, mtime_ns, reason in found:
        if root is None or number == root:
            if not isinstance(path, str | bytes) or not isinstance(reason, str):
                raise damaged("the name of a skipped file is none")
            yield Skipped(number, os.fsdecode(path), size, mtime_ns, reason)


def count(sql: Cursor, what: str) -> int:
    """Return a number: pictures (vectors with a name), names, removed or skipped files."""
    query = {
        "pictures": "SELECT (SELECT max(row) + 1 FROM contents) - "
        "(SELECT count(*) FROM contents WHERE uses = 0)",
        "names": "SELECT count(*) FROM names WHERE removed = 0",
        "removed": "SELECT count(*) FROM names WHERE removed = 1",
        "skipped": "SELECT count(*) FROM skipped",
    }[what]
    return int(sql.execute(query).fetchone()[0] or 0)
