"""Embedding of all pictures of an index again, by another model."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console

from ibc_pyg.console import Progress
from ibc_pyg.errors import RunError, program
from ibc_pyg.inference.embedder import Embedder
from ibc_pyg.retrieval.store.catalogue import digest_of_row, names_of_row, unused_rows
from ibc_pyg.retrieval.store.roots import TARS, is_url, places, roots
from ibc_pyg.retrieval.store.vectors import Vectors
from ibc_pyg.retrieval.store.writer import StoreWriter
from ibc_pyg.retrieval.update.feed import FileRead, read_files
from ibc_pyg.retrieval.update.scan import Listed


def reembed(
    writer: StoreWriter,
    embedder: Embedder,
    batch_size: int,
    console: Console,
    **meta: str | int,
) -> int:
    """Replace all vectors by those of another model, in one commit at the end.

    Pictures whose files are gone or have changed are dropped; `sync` finds what became of them.

    Args:
        writer: The index.
        embedder: The new model.
        batch_size: Number of pictures in a forward pass.
        console: Console of the progress.
        **meta: New values of the table `meta`.

    Returns:
        The number of pictures embedded.

    Raises:
        RunError: If pictures are in tar files or at a URL.
    """
    with writer.catalogue.reading() as sql:
        for _, source in roots(sql):
            if source.kind == TARS or is_url(source.root):
                raise RunError(
                    f"{source} is not read again here; plan a job with the other model: "
                    f"{program()} index plan"
                )
    wanted: list[tuple[int, bytes]] = []  # row and hash
    files: list[Listed] = []
    with writer.catalogue.reading() as sql:
        place = places(sql)
        unused = set(unused_rows(sql))
        for row in range(writer.state.rows):
            if row not in unused:
                name = names_of_row(sql, row)[0]
                wanted.append((row, digest_of_row(sql, row)))
                files.append(Listed(place(name.root, name.path), None, None, None))
    kept: list[int] = []
    sums: list[int] = []

    def contents() -> Iterator[bytes]:
        read: Iterator[FileRead] = read_files(Path("/"), files)
        for (row, digest), file in zip(wanted, read, strict=True):
            if file.sha256 == digest:
                attempts.append(row)
                yield file.content

    def vectors() -> Iterator[Vectors]:
        with Progress(len(files), "embed", console=console) as bar:
            for batch in embedder.batches(contents(), batch_size=batch_size):
                kept.extend(attempts[each] for each in batch.rows.tolist())
                sums.extend(zlib.crc32(vector) for vector in batch.vectors)
                bar.update(len(kept))
                yield batch.vectors

    attempts: list[int] = []
    changes = ((old, new) for new, old in enumerate(kept))
    writer.rewrite(changes, vectors(), dim=embedder.dim, sums=sums, **meta)
    return len(kept)
