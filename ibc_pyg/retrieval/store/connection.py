"""Connections to a catalogue: settings, transactions, and errors for people.

The journal is a write-ahead log: readers keep the state they began with while a writer commits, and
neither waits for the other. With a rollback journal a commit waits for every reader, and a reader
that comes during a commit for the writer.
"""

from __future__ import annotations

import os
import sqlite3
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

from ibc_pyg.errors import RunError, printable, program, reason
from ibc_pyg.files import refuse_link, sync_folder
from ibc_pyg.retrieval.store.schema import APPLICATION, FORMAT, SCHEMA, check_schema

PATIENCE = 60.0
"""Seconds that a transaction waits for another one."""


class Connection:
    """One connection; its transactions may come from several threads, one at a time.

    Args:
        path: The file of the catalogue.
        write: Whether it may change the catalogue.

    Raises:
        RunError: If the file is missing, damaged, or not a catalogue.
    """

    def __init__(self, path: Path, *, write: bool = False) -> None:
        self.path = path
        self._lock = threading.RLock()
        if not path.is_file():
            raise RunError(
                f"{printable(path.parent)} is not an index: it has no {path.name}; build one: "
                f"{program()} index build MODEL IMAGES --out INDEX"
            )
        if write:
            refuse_link(path)
        with translated(path):
            self._sql = self._open(write)

    def _open(self, write: bool) -> sqlite3.Connection:
        self._frozen = False
        try:
            return _connect(self.path, write=write)
        except sqlite3.OperationalError:
            # Without the right to write, SQLite cannot make the shared memory of the log; then
            # nobody else writes either, and the file is read as it is, if its log is empty.
            log = self.path.with_name(f"{self.path.name}-wal")
            if write or os.access(self.path.parent, os.W_OK):
                raise
            if log.is_file() and log.stat().st_size:
                raise RunError(
                    f"{printable(self.path.parent)} was left by a process that was killed, and is "
                    "read-only; open it once where it can be written"
                ) from None
            self._frozen = True
            return _connect(self.path, write=False, immutable=True)

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Cursor]:
        """Yield a cursor that sees one state of the catalogue, whatever others write."""
        with self._lock, translated(self.path):
            inside = self._sql.in_transaction
            if not inside:
                if self._frozen:
                    # Another user may have written since.
                    self._sql.close()
                    self._sql = self._open(write=False)
                self._sql.execute("BEGIN")
            try:
                yield self._sql.cursor()
            finally:
                if not inside and self._sql.in_transaction:
                    self._sql.execute("ROLLBACK")

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Cursor]:
        """Yield a cursor whose changes are all committed at the end, or none of them."""
        with self._lock, translated(self.path):
            self._sql.execute("BEGIN IMMEDIATE")
            try:
                yield self._sql.cursor()
                self._sql.execute("COMMIT")
            finally:
                if self._sql.in_transaction:
                    self._sql.execute("ROLLBACK")

    def vacuum(self) -> None:
        """Give unused space back to the disk."""
        with self._lock, translated(self.path):
            self._sql.execute("VACUUM")

    def close(self, *, tidy: bool = False) -> None:
        """Close the connection.

        Args:
            tidy: Move the log into the catalogue first, if no reader uses it.
        """
        with self._lock:
            if tidy:
                with suppress(sqlite3.Error):
                    self._sql.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            self._sql.close()


def create(path: Path, meta: dict[str, str | int]) -> None:
    """Make a catalogue without pictures.

    Args:
        path: Its file; it appears when it is complete.
        meta: First content of the table `meta`.

    Raises:
        RunError: If it cannot be written.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    with translated(path):
        try:
            sql = sqlite3.connect(draft, isolation_level=None)
            try:
                for statement in (
                    "PRAGMA journal_mode = WAL",
                    "PRAGMA synchronous = FULL",
                    "BEGIN IMMEDIATE",
                    f"PRAGMA application_id = {APPLICATION:d}",
                    f"PRAGMA user_version = {FORMAT:d}",
                    *SCHEMA,
                ):
                    sql.execute(statement)
                sql.executemany("INSERT INTO meta VALUES (?, ?)", meta.items())
                sql.execute("COMMIT")
            finally:
                sql.close()
            with draft.open("rb") as file:
                os.fsync(file.fileno())
            draft.replace(path)
            sync_folder(path.parent)
        finally:
            for left in path.parent.glob(f"{draft.name}*"):
                left.unlink(missing_ok=True)


def _connect(path: Path, *, write: bool, immutable: bool = False) -> sqlite3.Connection:
    # A name with `?`, `#` or undecodable bytes has to be quoted in a URI.
    address = f"file:{quote(os.fsencode(path.absolute()))}?mode=rw"
    if immutable:
        address += "&immutable=1"
    sql = sqlite3.connect(
        address, uri=True, timeout=PATIENCE, isolation_level=None, check_same_thread=False
    )
    try:
        if sys.version_info >= (3, 12):
            sql.setconfig(sqlite3.SQLITE_DBCONFIG_DEFENSIVE, True)
        # Loading of extensions is off by default; functions in the file are not trusted.
        for statement in (
            "PRAGMA trusted_schema = OFF",
            "PRAGMA cell_size_check = ON",
            "PRAGMA synchronous = FULL",
            f"PRAGMA query_only = {'OFF' if write else 'ON'}",
        ):
            sql.execute(statement)
        check_schema(sql, path)
    except BaseException:
        sql.close()
        raise
    return sql


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn errors of SQLite and of files into errors for people.

    Raises:
        RunError: One line that names the file.
        ValueError: If the connection is closed.
    """
    name = printable(path)
    try:
        yield
    except sqlite3.ProgrammingError as error:
        if "closed" in str(error):
            raise ValueError(f"the index {printable(path.parent)} is closed") from error
        raise
    except sqlite3.OperationalError as error:
        text = reason(error)
        if "locked" in text or "busy" in text:
            raise RunError(f"{name} is kept busy by another process; try again") from error
        if "unable to open" in text:
            raise RunError(f"{name} cannot be opened: {text}") from error
        raise RunError(f"{name} cannot be read or written: {text}") from error
    except (sqlite3.Error, OverflowError, UnicodeDecodeError) as error:
        raise RunError(
            f"{name} is damaged ({reason(error)}); restore the folder, or build the index again"
        ) from error
    except OSError as error:
        raise RunError(f"{name} cannot be read or written: {reason(error)}") from error
