"""Upload of an index into a collection of Qdrant."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import groupby, islice
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console

from ibc_pyg.console import Progress
from ibc_pyg.errors import printable
from ibc_pyg.retrieval.qdrant.client import explained, refuse_folder
from ibc_pyg.retrieval.qdrant.collection import (
    THRESHOLD,
    CollectionRecord,
    check_model,
    point_id,
    read_record,
)
from ibc_pyg.retrieval.reader import IndexReader
from ibc_pyg.retrieval.store.entries import Entry
from ibc_pyg.retrieval.store.vectors import Vectors

if TYPE_CHECKING:
    from qdrant_client import QdrantClient

CHUNK = 2048
"""Points that are compared with the server at once; an interrupted upload goes on at the next."""
_BATCH = 256


@dataclass
class PushReport:
    """Counts of an upload.

    Attributes:
        uploaded: Points that were new or have changed.
        kept: Points that were there.
        others: Points in the collection that are not in the index.
    """

    uploaded: int = 0
    kept: int = 0
    others: int = 0


def push(
    index: IndexReader,
    client: QdrantClient,
    collection: str,
    *,
    prune: bool = False,
    console: Console,
) -> PushReport:
    """Make a collection hold what an index holds; points that are there are not sent again.

    A picture is a point: its id a UUID of the hash of its content, its payload the paths, the
    classes and the hash. While points are sent, the server builds no graph; afterwards it does,
    also if the upload fails or is interrupted.

    Args:
        index: The index.
        client: Client of a server.
        collection: Name of the collection; it is created if it is missing.
        prune: Remove points that are not in the index.
        console: Console of the progress.

    Raises:
        ConfigError: If the client is of a local folder.
        RunError: If the collection was made by another model or another program, or the server
            fails.
    """
    refuse_folder(client)
    report = PushReport()
    record = _open_collection(index, client, collection)
    ids: set[str] = set()
    with (
        _without_indexing(client, collection, record),
        index.reading() as (entries, vectors),
        explained(f"collection {collection}"),  # before the index takes an error for its own
        Progress(len(index), "push", console=console) as bar,
    ):
        pictures = (list(files) for _, files in groupby(entries, key=lambda each: each.row))
        while chunk := list(islice(pictures, CHUNK)):
            _send(client, collection, chunk, vectors, report)
            ids.update(point_id(files[0].sha256) for files in chunk)
            bar.update(report.uploaded + report.kept)
        _find_others(client, collection, ids, report, prune=prune)
        client.update_collection(collection, metadata=replace(record, complete=True).metadata())
    return report


def _open_collection(index: IndexReader, client: QdrantClient, collection: str) -> CollectionRecord:
    from qdrant_client import models

    if not client.collection_exists(collection):
        record = CollectionRecord(index.fingerprint, index.model_source, 0, complete=False)
        client.create_collection(
            collection,
            # Vectors have unit norm; the product leaves them as they are, `COSINE` scales them.
            vectors_config=models.VectorParams(
                size=index.dim, distance=models.Distance.DOT, on_disk=True
            ),
            metadata=record.metadata(),
        )
        client.create_payload_index(collection, "label", models.PayloadSchemaType.KEYWORD)
    record = read_record(client, collection)
    check_model(collection, record.fingerprint, index.fingerprint)
    now = client.get_collection(collection).config.optimizer_config.indexing_threshold
    # It is 0 if an upload was killed; then the record has the former value.
    threshold = now or record.threshold or THRESHOLD
    record = replace(record, threshold=threshold, complete=False, place=index.model_source)
    client.update_collection(collection, metadata=record.metadata())
    return record


@contextmanager
def _without_indexing(
    client: QdrantClient, collection: str, record: CollectionRecord
) -> Iterator[None]:
    _set_threshold(client, collection, 0)
    try:
        yield
    except BaseException:
        # A server that is gone cannot be told; the error of the upload says why.
        with suppress(Exception):
            _set_threshold(client, collection, record.threshold)
        raise
    _set_threshold(client, collection, record.threshold)


def _set_threshold(client: QdrantClient, collection: str, value: int) -> None:
    from qdrant_client import models

    client.update_collection(
        collection, optimizers_config=models.OptimizersConfigDiff(indexing_threshold=value)
    )


def _send(
    client: QdrantClient,
    collection: str,
    pictures: Sequence[list[Entry]],
    vectors: Vectors,
    report: PushReport,
) -> None:
    """Send the points of a chunk that are not there, or differ."""
    wanted = {point_id(files[0].sha256): files for files in pictures}
    found = client.retrieve(collection, list(wanted), with_payload=True, with_vectors=False)
    there = {str(each.id): each.payload for each in found}
    payloads = {key: _payload(files) for key, files in wanted.items()}
    missing = [key for key, payload in payloads.items() if there.get(key) != payload]
    report.kept += len(wanted) - len(missing)
    if missing:
        rows = [wanted[key][0].row for key in missing]
        client.upload_collection(
            collection,
            vectors=np.ascontiguousarray(vectors[rows]),
            payload=[payloads[key] for key in missing],
            ids=missing,
            batch_size=_BATCH,
            wait=True,
        )
        report.uploaded += len(missing)


def _payload(files: Sequence[Entry]) -> dict[str, Any]:
    """Return the payload of a picture; `label` has each of its classes once, for filters."""
    labels = [each.label for each in files]
    return {
        "row": files[0].row,
        "sha256": files[0].sha256,
        "paths": [printable(each.path) for each in files],
        "labels": labels,
        "label": sorted({label for label in labels if label is not None}),
        "unlabelled": None in labels,
    }


def _find_others(
    client: QdrantClient, collection: str, ids: set[str], report: PushReport, *, prune: bool
) -> None:
    """Count, and with `prune` remove, the points that are not in the index."""
    from qdrant_client import models

    if client.count(collection, exact=True).count == len(ids):
        return
    others: list[Any] = []
    place = None
    while True:
        points, place = client.scroll(
            collection, limit=CHUNK, offset=place, with_payload=False, with_vectors=False
        )
        others += [each.id for each in points if str(each.id) not in ids]
        if place is None:
            break
    report.others = len(others)
    if prune and others:
        for start in range(0, len(others), CHUNK):
            some = models.PointIdsList(points=others[start : start + CHUNK])
            client.delete(collection, some, wait=True)
