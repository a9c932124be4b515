"""Layout of the catalogue, and the check that a file has it."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from ibc_pyg.errors import RunError, printable

APPLICATION = 0x69626331
"""`PRAGMA application_id` of a catalogue."""

FORMAT = 1
"""`PRAGMA user_version`: incremented when the layout changes."""

SCHEMA = (
    # State of the index: rows committed, generation of the vector file, model, finished or not.
    "CREATE TABLE meta(key TEXT PRIMARY KEY NOT NULL, value NOT NULL) WITHOUT ROWID",
    # Where pictures come from: a folder, a CSV file, a data set, or single files.
    "CREATE TABLE roots(id INTEGER PRIMARY KEY, kind TEXT NOT NULL, path NOT NULL, file, "
    "part TEXT NOT NULL)",
    # One vector per content; `uses` counts the names that are not removed.
    "CREATE TABLE contents(row INTEGER PRIMARY KEY, sha256 BLOB NOT NULL UNIQUE, "
    "crc32 INTEGER NOT NULL, uses INTEGER NOT NULL)",
    "CREATE INDEX unused ON contents(row) WHERE uses = 0",
    # A path is text, or bytes if it is not UTF-8. `row` is null if the content is gone.
    "CREATE TABLE names(id INTEGER PRIMARY KEY, root INTEGER NOT NULL, path NOT NULL, "
    "row INTEGER, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, label TEXT, "
    "removed INTEGER NOT NULL, UNIQUE(root, path))",
    "CREATE INDEX names_row ON names(row)",
    "CREATE INDEX names_label ON names(label)",
    "CREATE TABLE skipped(root INTEGER NOT NULL, path NOT NULL, size INTEGER, mtime_ns INTEGER, "
    "reason TEXT NOT NULL, PRIMARY KEY(root, path)) WITHOUT ROWID",
)


def check_schema(connection: sqlite3.Connection, path: Path) -> None:
    """Check that a database is a catalogue of this format, and nothing else.

    Triggers and views of a stranger's file would run with every statement.

    Raises:
        RunError: If it is not.
        sqlite3.Error: If the file is damaged or no database.
    """
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if application != APPLICATION:
        raise RunError(f"{printable(path)} is not the catalogue of an index")
    if version > FORMAT:
        raise RunError(
            f"{printable(path)} has format {version}, which is newer than {FORMAT}; update ibc_pyg"
        )
    found = connection.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall()
    if version != FORMAT or sorted(sql for (sql,) in found) != sorted(SCHEMA):
        raise RunError(f"{printable(path)} has other tables than the catalogue of an index")
