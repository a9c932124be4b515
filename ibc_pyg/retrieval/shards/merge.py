"""Merging of the parts of a job into an index."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from ibc_pyg.console import Progress
from ibc_pyg.errors import RunError, printable, program
from ibc_pyg.retrieval.ann.engine import import_faiss
from ibc_pyg.retrieval.ann.record import AnnSettings
from ibc_pyg.retrieval.ann.refresh import refresh_ann
from ibc_pyg.retrieval.fingerprint import Fingerprint
from ibc_pyg.retrieval.shards.job import Job, PathLike
from ibc_pyg.retrieval.shards.part import Found, PartContent, read_header, read_part
from ibc_pyg.retrieval.store.catalogue import (
    Cursor,
    Name,
    Skipped,
    find_content,
    put_name,
    put_skipped,
    read_meta,
    write_meta,
)
from ibc_pyg.retrieval.store.roots import TARS, add_root
from ibc_pyg.retrieval.store.writer import StoreWriter, store_writer
from ibc_pyg.retrieval.update.create import prepare_folder
from ibc_pyg.retrieval.update.report import SyncReport
from ibc_pyg.retrieval.update.scan import Listed

_NAMED = 10


def merge_job(
    job: Job,
    out: PathLike,
    settings: AnnSettings | None = None,
    *,
    console: Console,
) -> SyncReport:
    """Merge the parts of a job into a new index, or go on with a merge that was interrupted.

    The index depends on the job alone, not on how many workers made its parts: files and bytes are
    those of a single worker. A content in several parts has the vector of the first.

    Args:
        job: The job.
        out: The folder of the index: missing, empty, or of an interrupted merge.
        settings: Kind and recall of its search; None takes the defaults.
        console: Console of the progress.

    Returns:
        The numbers of pictures, by what they are.

    Raises:
        RunError: If a part is missing, twice there, of another job, or has not each planned
            picture once; it is named, and no index is begun.
    """
    folder, settings = Path(out), settings or AnnSettings("auto", 0.95)
    if settings.kind in ("ivf", "hnsw"):
        import_faiss()  # before the work
    _check_parts(job)
    prepare_folder(folder, job.source, job.model, job.place)
    fingerprint = Fingerprint.from_json(job.model)
    report = SyncReport()
    with store_writer(folder, fingerprint.dim) as writer:
        root, first = _begin(writer, job)
        with Progress(len(job.lists), "merge", console=console, start=first) as bar:
            for shard in range(first, len(job.lists)):
                content = read_part(job.part_file(shard), fingerprint.dim)
                _check_pictures(job, shard, content)
                report += _take(writer, root, shard, content)
                bar.update(shard + 1)
        with writer.commit() as sql:
            write_meta(sql, complete=1)
        refresh_ann(writer, console, settings)
    return report


def _check_parts(job: Job) -> None:
    """Check that each part is there once, and nothing else."""
    places: dict[int, list[Path]] = {}
    for path in sorted((job.folder / "parts").glob("*")):
        if path.name.startswith("."):
            continue  # a draft of a worker that runs, or was killed
        header = read_header(path)
        if header.job != job.digest or header.shard >= len(job.lists):
            raise RunError(f"{printable(path)} is a part of another job; remove it")
        made_by = Fingerprint.from_json(header.model)
        if made_by.digest != job.fingerprint.digest:
            raise RunError(
                f"{printable(path)} was made by {made_by}, not by {job.fingerprint}; remove it, "
                f"and run: {program()} index work {printable(job.folder)}"
            )
        places.setdefault(header.shard, []).append(path)
    for shard, files in places.items():
        names = " and ".join(printable(each.name) for each in files)
        if len(files) > 1:
            raise RunError(f"part {shard} is there twice: {names}; remove one of them")
        if files[0] != job.part_file(shard):
            raise RunError(
                f"{names} is part {shard}; rename it to {job.part_file(shard).name}, or remove it"
            )
    missing = [shard for shard in range(len(job.lists)) if shard not in places]
    if missing:
        raise RunError(
            f"{_numbers('part', missing)} of {len(job.lists):,} missing; run: "
            f"{program()} index work {printable(job.folder)}"
        )


def _numbers(what: str, numbers: Sequence[int]) -> str:
    shown = ", ".join(map(str, numbers[:_NAMED]))
    more = f" and {len(numbers) - _NAMED:,} more" if len(numbers) > _NAMED else ""
    return f"{what} {shown} is" if len(numbers) == 1 else f"{what}s {shown}{more} are"


def _check_pictures(job: Job, shard: int, content: PartContent) -> None:
    """Check that a part has each picture of its list once, or the pictures of its tar files."""
    path, listed = printable(job.part_file(shard)), job.listed(shard)
    advice = f"remove it, and run: {program()} index work {printable(job.folder)}"
    if job.source.kind == TARS:
        names = [each.listed.path for each in content.found]
        if len(set(names)) < len(names):
            raise RunError(f"{path} has a picture twice; {advice}")
        for each in content.found:
            known = 0 <= each.unit < len(listed)
            if not known or not each.listed.path.startswith(listed[each.unit].path + "/"):
                raise RunError(
                    f"{path} has {printable(each.listed.path)}, which is not of its tar files; "
                    + advice
                )
        return
    wanted, there = [each.path for each in listed], [each.listed.path for each in content.found]
    if wanted != there:
        lost = next((each for each in wanted if each not in set(there)), None)
        what = f"lacks {printable(lost)}" if lost is not None else "has a picture twice, or others"
        raise RunError(f"{path} {what}; {advice}")


def _begin(writer: StoreWriter, job: Job) -> tuple[int, int]:
    """Return the number of the root, and the first part that is not merged yet."""
    with writer.commit() as sql:
        before = read_meta(sql, "job")
        if before not in (None, job.digest):
            raise RunError(
                f"{printable(writer.folder)} is the unfinished index of another job; choose "
                "another --out"
            )
        if before is None:
            write_meta(sql, job=job.digest, root=add_root(sql, job.source), merged=0)
        root, first = read_meta(sql, "root"), read_meta(sql, "merged")
    assert isinstance(root, int)
    assert isinstance(first, int)
    return root, first


def _take(writer: StoreWriter, root: int, shard: int, content: PartContent) -> SyncReport:
    """Take a part into the index, in one commit."""
    report = SyncReport()
    with writer.catalogue.reading() as sql:
        new = [row for row, each in enumerate(content.digests) if find_content(sql, each) is None]
    digests = [content.digests[row] for row in new]
    with writer.commit(digests, content.vectors[new]) as sql:
        for each in content.found:
            _name(sql, root, each, content, report)
        write_meta(sql, merged=shard + 1)
    report.embedded = len(new)
    return report


def _name(sql: Cursor, root: int, found: Found, content: PartContent, report: SyncReport) -> None:
    listed: Listed = found.listed
    if found.row is None:
        size, time_ns = listed.size, listed.mtime_ns
        put_skipped(sql, Skipped(root, listed.path, size, time_ns, found.reason))
        report.skipped += 1
        return
    place = find_content(sql, content.digests[found.row])
    assert place is not None
    row, uses = place
    size, time_ns = listed.size or 0, listed.mtime_ns or 0
    put_name(sql, Name(root, listed.path, row, size, time_ns, listed.label))
    if uses:
        report.copied += 1
    else:
        report.added += 1
