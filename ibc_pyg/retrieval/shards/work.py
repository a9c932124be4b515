"""A worker: embeds the parts of its share that are not finished."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from rich.console import Console

from ibc_pyg.console import Progress
from ibc_pyg.errors import RunError, UserError, printable
from ibc_pyg.files import open_input
from ibc_pyg.inference.embedder import Embedder
from ibc_pyg.retrieval.fingerprint import Fingerprint
from ibc_pyg.retrieval.models import Model, reopen_model
from ibc_pyg.retrieval.shards.job import Job, PathLike
from ibc_pyg.retrieval.shards.part import Found, PartContent, PartHeader, read_header, write_part
from ibc_pyg.retrieval.shards.share import Share
from ibc_pyg.retrieval.shards.tars import read_tar
from ibc_pyg.retrieval.shards.urls import open_url, read_urls
from ibc_pyg.retrieval.store.roots import TARS, Source, is_url
from ibc_pyg.retrieval.update.feed import FileRead, read_files
from ibc_pyg.retrieval.update.scan import Listed

_logger = logging.getLogger(__name__)


@dataclass
class WorkReport:
    """Counts of a worker.

    Attributes:
        done: Parts written.
        kept: Parts of its share that were finished before.
        embedded: Contents that the network has seen.
        skipped: Pictures that cannot be read or decoded.
    """

    done: int = 0
    kept: int = 0
    embedded: int = 0
    skipped: int = 0


def open_job_model(
    job: Job,
    model: Model | None = None,
    *,
    weights: PathLike | None = None,
    trust_code: bool = False,
) -> Embedder:
    """Open the model of a job.

    Args:
        job: The job.
        model: The model, if it is not where it was when the job was planned.
        weights: Local weights of a pretrained backbone.
        trust_code: As for `ibc_pyg.load`.

    Raises:
        RunError: If it is another one than that of the plan; both are named.
    """
    embedder = reopen_model(model, job.place, job.folder, weights=weights, trust_code=trust_code)
    given = Fingerprint.of(embedder)
    if given.digest != job.fingerprint.digest:
        raise RunError(
            f"{printable(job.folder)} was planned for {job.fingerprint}, not for {given}; use that "
            "model, or plan another job"
        )
    return embedder


def worker_device() -> torch.device | None:
    """Return the GPU of this process among several of one machine; None for the default device."""
    local = os.environ.get("LOCAL_RANK", "")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if not local.isdecimal() or not count:
        return None
    return torch.device("cuda", int(local) % count)


def work_on(job: Job, embedder: Embedder, share: Share, console: Console) -> WorkReport:
    """Embed the parts of a share that are not finished, each written whole or not at all.

    Workers need no connection to each other: any number may run, at any time, with any shares.

    Args:
        job: The job.
        embedder: Its model; see `open_job_model`.
        share: The parts to see to.
        console: Console of the progress.

    Raises:
        UserError: If files or servers fail; finished parts stay.
    """
    report = WorkReport()
    model = Fingerprint.of(embedder).to_json()
    mine = range(share.index, len(job.lists), share.count)
    began = time.monotonic()
    with Progress(len(mine), "parts", console=console) as bar:
        for number, shard in enumerate(mine, 1):
            if is_finished(job, shard):
                report.kept += 1
            else:
                content = _embed(job, shard, embedder)
                write_part(job.part_file(shard), PartHeader(job.digest, shard, model), content)
                report.done += 1
                report.embedded += len(content.digests)
                report.skipped += sum(each.row is None for each in content.found)
            seconds = max(time.monotonic() - began, 1e-6)
            bar.update(number, images_per_second=report.embedded / seconds)
    return report


def is_finished(job: Job, shard: int) -> bool:
    """Tell whether a part is there; a damaged one counts as missing."""
    path = job.part_file(shard)
    if not path.exists():
        return False
    try:
        header = read_header(path)
    except UserError as error:
        _logger.warning("%s", error)
        return False
    return (header.job, header.shard) == (job.digest, shard)


def _embed(job: Job, shard: int, embedder: Embedder) -> PartContent:
    files: list[tuple[int, FileRead]] = []
    attempts: dict[bytes, int] = {}

    def contents() -> Iterator[bytes]:
        for unit, file in _read(job.source, job.listed(shard)):
            # Without its content, which would stay in memory.
            files.append((unit, FileRead(file.listed, file.sha256, reason=file.reason)))
            if file.sha256 is not None and file.sha256 not in attempts:
                attempts[file.sha256] = len(attempts)
                yield file.content

    rows: dict[int, int] = {}
    broken: dict[int, str] = {}
    vectors = [np.empty((0, embedder.dim), np.float32)]
    for batch in embedder.batches(contents(), batch_size=job.batch_size):
        for each in batch.rows.tolist():
            rows[each] = len(rows)
        vectors.append(batch.vectors)
        for each, why in batch.skipped.items():
            # The reason begins with a name of the picture, which has a better one here.
            broken[each] = printable(why.partition(": ")[2] or why)
    found = []
    for unit, file in files:
        attempt = -1 if file.sha256 is None else attempts[file.sha256]
        why = file.reason or broken.get(attempt, "")
        found.append(Found(unit, file.listed, rows.get(attempt), why))
    kept = [digest for digest, attempt in attempts.items() if attempt in rows]
    return PartContent(found, kept, np.concatenate(vectors))


def _read(source: Source, listed: list[Listed]) -> Iterator[tuple[int, FileRead]]:
    """Yield the pictures of a list, each with the place of it, or of its tar file, in the list."""
    if source.kind == TARS:
        for unit, tar in enumerate(listed):
            for file in _read_tar(source, tar):
                yield unit, file
    elif is_url(source.root):
        yield from enumerate(read_urls(source.root, listed))
    else:
        yield from enumerate(read_files(Path(source.root), listed))


def _read_tar(source: Source, tar: Listed) -> Iterator[FileRead]:
    place = f"{source.root}/{tar.path}"
    try:
        with open_url(place) if is_url(place) else open_input(Path(place)) as stream:
            yield from read_tar(stream, tar.path)
    except OSError as error:
        raise RunError(f"{printable(place)} cannot be read: {error}") from error
