"""Keeping of the approximate search after a change of the index."""

from __future__ import annotations

from rich.console import Console

from ibc_pyg.console import info
from ibc_pyg.errors import RunError
from ibc_pyg.retrieval.ann.build import build_ann
from ibc_pyg.retrieval.ann.engine import import_faiss
from ibc_pyg.retrieval.ann.record import AnnRecord, AnnSettings
from ibc_pyg.retrieval.ann.searcher import Searcher
from ibc_pyg.retrieval.lookup import allowed_rows
from ibc_pyg.retrieval.store.writer import StoreWriter

TAIL = 0.2
"""Share of rows behind the approximate search, which are searched exactly, that calls for a new
one."""


def refresh_ann(
    writer: StoreWriter,
    console: Console,
    settings: AnnSettings | None = None,
    *,
    rebuild: bool = False,
) -> AnnRecord | None:
    """Build the approximate search if there is none that fits, or too many rows are not in it.

    Args:
        writer: The index.
        console: Console of the progress and the measured recall.
        settings: New settings, stored in the index; None takes those that are stored.
        rebuild: Build it in any case.

    Returns:
        The one that is there now; None if the search is exact.

    Raises:
        RunError: If the disk is full; or faiss is not installed, unless the kind is `auto` and
            this is no rebuild.
    """
    with writer.catalogue.reading() as sql:
        stored = AnnSettings.of(sql)
    if settings is not None and settings != stored:
        with writer.commit() as sql:
            settings.store(sql)
    settings = stored if settings is None else settings
    vectors, generation = writer.map(), writer.state.generation
    kind = settings.kind_for(*vectors.shape) if len(vectors) else "exact"
    if kind != "exact":
        if not rebuild:
            current = Searcher(writer.folder, silent=True).current(vectors, generation, settings)
            if current is not None and current.record.kind == kind:
                later = len(vectors) - current.record.rows
                if later <= TAIL * current.record.rows:
                    return current.record
        try:
            import_faiss()
        except RunError as error:
            if rebuild or settings.kind != "auto":
                raise
            info(console, f"searched exactly: {error}")
            return None
    with writer.catalogue.reading() as sql:
        allowed = allowed_rows(sql, len(vectors), None)
    return build_ann(writer.folder, generation, vectors, allowed, settings, console)
