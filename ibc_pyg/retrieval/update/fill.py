"""Embedding of new pictures into an index, committed every few seconds."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path

import numpy as np

from ibc_pyg.errors import printable
from ibc_pyg.inference.embedder import EmbeddedBatch, Embedder
from ibc_pyg.retrieval.store.catalogue import (
    Cursor,
    Name,
    Skipped,
    find_content,
    find_name,
    put_name,
    put_skipped,
)
from ibc_pyg.retrieval.store.vectors import Vectors
from ibc_pyg.retrieval.store.writer import StoreWriter
from ibc_pyg.retrieval.update.feed import FileRead, read_files
from ibc_pyg.retrieval.update.report import SyncReport
from ibc_pyg.retrieval.update.scan import Listed


@dataclass(frozen=True)
class Pace:
    """Distance of two commits; a killed process loses what came after the last one.

    Attributes:
        pictures: Most new pictures, rounded up to whole batches.
        seconds: Longest time.
    """

    pictures: int = 4096
    seconds: float = 5.0


@dataclass
class Filler:
    """Takes files into an index, in their order; new content passes through the network once.

    A commit holds everything up to the end of a forward pass, so that a process that goes on after
    a kill makes the same batches, and the same numbers, as one that was not killed.

    Attributes:
        writer: The index.
        embedder: Returns its model; it is only asked for if there is new content.
        batch_size: Number of pictures in a forward pass.
        pace: Distance of two commits.
        on_progress: Called with the number of files done.
    """

    writer: StoreWriter
    embedder: Callable[[], Embedder]
    batch_size: int
    pace: Pace
    on_progress: Callable[[int], None]
    report: SyncReport = field(default_factory=SyncReport, init=False)
    _waiting: deque[FileRead] = field(default_factory=deque, init=False)
    _attempts: list[bytes] = field(default_factory=list, init=False)
    _broken: dict[bytes, str] = field(default_factory=dict, init=False)
    _digests: list[bytes] = field(default_factory=list, init=False)
    _vectors: list[Vectors] = field(default_factory=list, init=False)

    def fill(self, root: int, folder: Path, files: list[Listed], gone: Counter[int]) -> SyncReport:
        """Take files into the index.

        Args:
            root: Number of their root.
            folder: The folder of that root.
            files: The files.
            gone: Rows of names that are gone, which a new name of the same content replaces.

        Raises:
            RunError: If the index cannot be written; what was committed stays.
        """
        self._root, self._gone = root, gone
        self._since, self._noted, self._embedded = time.monotonic(), 0, 0
        contents = self._new_contents(read_files(folder, files))
        for batch in self._batches(contents):
            self._digests += [self._attempts[row] for row in batch.rows.tolist()]
            self._vectors.append(batch.vectors)
            for row, reason in batch.skipped.items():
                # The reason begins with a name of the picture, which has a better one here.
                self._broken[self._attempts[row]] = printable(reason.partition(": ")[2] or reason)
            self._embedded += len(batch.rows) + len(batch.skipped)
            self._tick()
        self._commit()
        return self.report

    def _batches(self, contents: Iterator[bytes]) -> Iterator[EmbeddedBatch]:
        for first in contents:
            rest = chain([first], contents)
            yield from self.embedder().batches(rest, batch_size=self.batch_size)

    def _new_contents(self, files: Iterator[FileRead]) -> Iterator[bytes]:
        """Yield contents that the index lacks; note all files in `_waiting`."""
        seen: set[bytes] = set()
        for file in files:
            self._waiting.append(replace(file, content=b""))
            self._noted += 1
            digest = file.sha256
            if digest is not None and digest not in seen:
                seen.add(digest)
                with self.writer.catalogue.reading() as sql:
                    known = find_content(sql, digest) is not None
                if not known:
                    self._attempts.append(digest)
                    yield file.content
                    continue
            self._tick()

    def _tick(self) -> None:
        """Show the progress, and commit if it is time."""
        late = time.monotonic() - self._since >= self.pace.seconds
        if late or len(self._digests) >= self.pace.pictures:
            self._commit()
            self._since = time.monotonic()
        self.on_progress(self._noted - (len(self._attempts) - self._embedded))

    def _commit(self) -> None:
        """Commit the vectors, and the files in front of the first that waits for its vector."""
        vectors = np.concatenate(self._vectors) if self._vectors else None
        fresh = set(self._digests)
        with self.writer.commit(self._digests, vectors) as sql:
            while self._waiting and self._take(sql, self._waiting[0], fresh):
                self._waiting.popleft()
        self.report.embedded += len(self._digests)
        self._digests, self._vectors = [], []

    def _take(self, sql: Cursor, file: FileRead, fresh: set[bytes]) -> bool:
        """Record one file; return whether it could be recorded yet."""
        listed, report, root = file.listed, self.report, self._root
        reason = file.reason if file.sha256 is None else self._broken.get(file.sha256)
        if reason is not None:
            size, time_ns = listed.size, listed.mtime_ns
            put_skipped(sql, Skipped(root, listed.path, size, time_ns, reason))
            report.skipped += 1
            return True
        found = None if file.sha256 is None else find_content(sql, file.sha256)
        if found is None:
            return False
        row, uses = found
        before = find_name(sql, root, listed.path)
        if before is not None and not before.removed:
            if before.row == row:
                report.unchanged += 1
            else:
                report.changed += 1
        elif self._gone[row] > 0:
            self._gone[row] -= 1
            report.renamed += 1
        elif uses:
            report.copied += 1
        else:
            report.added += 1
        size, time_ns = listed.size or 0, listed.mtime_ns or 0
        put_name(sql, Name(root, listed.path, row, size, time_ns, listed.label))
        return True
