"""Comparison of an index with its sources, and what follows from it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from ibc_pyg.console import Progress
from ibc_pyg.errors import RunError, printable
from ibc_pyg.inference.embedder import Embedder
from ibc_pyg.retrieval.store.catalogue import (
    Cursor,
    Name,
    Skipped,
    drop_name,
    drop_skipped,
    names,
    put_name,
    skipped_files,
    write_meta,
)
from ibc_pyg.retrieval.store.roots import FILES, Source, add_root, roots
from ibc_pyg.retrieval.store.writer import StoreWriter
from ibc_pyg.retrieval.update.fill import Filler, Pace
from ibc_pyg.retrieval.update.report import SyncReport
from ibc_pyg.retrieval.update.scan import Listed, list_files, list_source


@dataclass(frozen=True)
class Work:
    """Settings of a build, sync or add.

    Attributes:
        embedder: Returns the model; it is only asked for if there is new content.
        batch_size: Number of pictures in a forward pass.
        console: Console of the progress.
        pace: Distance of two commits.
        whole: Whether the index is incomplete until the work is done; pictures added by hand are no
            part of what a build or sync began.
    """

    embedder: Callable[[], Embedder]
    batch_size: int
    console: Console
    pace: Pace
    whole: bool = True


@dataclass
class _Plan:
    """Files of one root, by what has to be done.

    Attributes:
        read: Files to read: new ones, and those whose size or time differ.
        relabelled: Known names whose class has changed.
        lost: Names that are not listed any more.
        forgotten: Skipped files that are not listed any more.
        report: Account of the files that need nothing.
    """

    read: list[Listed]
    relabelled: list[Name]
    lost: list[Name]
    forgotten: list[Skipped]
    report: SyncReport


def sync_source(
    writer: StoreWriter,
    source: Source,
    work: Work,
    listed: Sequence[Listed] | None = None,
    *,
    trust_code: bool = False,
) -> SyncReport:
    """Bring the names of one source up to date; it becomes a root if it is none yet.

    Args:
        writer: The index.
        source: The source.
        work: Settings.
        listed: Its pictures, if they have been listed already.
        trust_code: As in `list_source`.

    Raises:
        DatasetError: If the source cannot be listed.
        RunError: If its code is not trusted, it has no pictures any more, or the index cannot be
            written.
    """
    with writer.catalogue.reading() as sql:
        root = next((number for number, each in roots(sql) if each == source), None)
        known = [] if root is None else list(names(sql, root))
        skipped = [] if root is None else list(skipped_files(sql, root))
    if source.kind == FILES:
        files = list_files(Path(source.root), [(each.path, each.label) for each in known])
        listed = [each for each in files if each.size is not None]
    else:
        listed = list_source(source, trust_code=trust_code) if listed is None else listed
        _check_not_empty(source, listed, known)
    if root is None:
        with writer.commit() as sql:
            root = add_root(sql, source)
    plan = _compare(listed, known, skipped)
    report = plan.report
    gone = Counter(name.row for name in plan.lost if name.row is not None and not name.removed)
    if plan.read:
        report += _fill(writer, root, Path(source.root), plan.read, gone, work)
    report.gone += gone.total()
    if plan.relabelled or plan.lost or plan.forgotten:
        with writer.commit() as sql:
            _finish(sql, root, plan)
    return report


def add_files(
    writer: StoreWriter, source: Source, files: Sequence[tuple[str, str | None]], work: Work
) -> SyncReport:
    """Take single files into the index, also those removed before.

    Args:
        writer: The index.
        source: The root that they belong to.
        files: Paths relative to it, and classes.
        work: Settings.
    """
    with writer.commit() as sql:
        root = next((number for number, each in roots(sql) if each == source), None)
        root = add_root(sql, source) if root is None else root
    listed = list_files(Path(source.root), files)
    return _fill(writer, root, Path(source.root), listed, Counter(), work)


def _check_not_empty(source: Source, listed: Sequence[Listed], known: Iterable[Name]) -> None:
    """Refuse to forget all pictures of a source, whose disk may not be there."""
    if not listed and any(not name.removed for name in known):
        raise RunError(
            f"{source} has no pictures any more: is its disk there? If they are gone for good: "
            f"index remove INDEX {printable(source.root)}"
        )


def _compare(listed: Sequence[Listed], known: Sequence[Name], skipped: Sequence[Skipped]) -> _Plan:
    report = SyncReport()
    by_path = {name.path: name for name in known}
    left_out = {each.path: each for each in skipped}
    read, relabelled = [], []
    for each in listed:
        name, bad = by_path.pop(each.path, None), left_out.pop(each.path, None)
        stat = (each.size, each.mtime_ns)
        if name is not None and name.removed:
            report.removed += 1
        elif name is not None and stat == (name.size, name.mtime_ns):
            report.unchanged += 1
            if each.label != name.label:
                relabelled.append(
                    Name(name.root, name.path, name.row, name.size, name.mtime_ns, each.label)
                )
        elif bad is not None and each.size is not None and stat == (bad.size, bad.mtime_ns):
            report.skipped += 1
        else:
            read.append(each)
    return _Plan(read, relabelled, list(by_path.values()), list(left_out.values()), report)


def _fill(
    writer: StoreWriter,
    root: int,
    folder: Path,
    files: list[Listed],
    gone: Counter[int],
    work: Work,
) -> SyncReport:
    if work.whole:
        with writer.commit() as sql:
            write_meta(sql, complete=0)
    began = time.monotonic()
    with Progress(len(files), "index", console=work.console) as bar:

        def show(done: int) -> None:
            seconds = max(time.monotonic() - began, 1e-6)
            bar.update(done, images_per_second=done / seconds)

        return Filler(writer, work.embedder, work.batch_size, work.pace, show).fill(
            root, folder, files, gone
        )


def _finish(sql: Cursor, root: int, plan: _Plan) -> None:
    for name in plan.relabelled:
        put_name(sql, name)
    for name in plan.lost:
        drop_name(sql, root, name.path)
    for each in plan.forgotten:
        drop_skipped(sql, root, each.path)
