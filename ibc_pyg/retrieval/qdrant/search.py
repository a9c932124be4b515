"""Search in a collection of Qdrant."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ibc_pyg.errors import RunError, printable
from ibc_pyg.inference.embedder import Embedder
from ibc_pyg.retrieval.fingerprint import Fingerprint
from ibc_pyg.retrieval.hits import Hit
from ibc_pyg.retrieval.lookup import Where, wanted_labels
from ibc_pyg.retrieval.models import Model, reopen_model
from ibc_pyg.retrieval.nearest import unit
from ibc_pyg.retrieval.qdrant.client import refuse_folder
from ibc_pyg.retrieval.qdrant.collection import CollectionRecord, check_model, read_record
from ibc_pyg.retrieval.queries import Queries

if TYPE_CHECKING:
    from qdrant_client import QdrantClient
    from qdrant_client.http.models import Filter, ScoredPoint


def open_collection(
    client: QdrantClient,
    collection: str,
    model: Model | None = None,
    *,
    weights: str | os.PathLike[str] | None = None,
    trust_code: bool = False,
) -> tuple[CollectionRecord, Embedder]:
    """Return the record of a collection, and its model.

    Args:
        client: Client of a server.
        collection: A collection that `push` made.
        model: The model, if it is not where it was when the index was built.
        weights: Local weights of a pretrained backbone.
        trust_code: As for `ibc_pyg.load`.

    Raises:
        RunError: If there is no such collection, or the model is missing or another one.
    """
    refuse_folder(client)
    record = read_record(client, collection)
    name = Path(f"collection {collection}")
    embedder = reopen_model(model, record.place, name, weights=weights, trust_code=trust_code)
    check_model(collection, record.fingerprint, Fingerprint.of(embedder))
    return record, embedder


def search_collection(
    client: QdrantClient,
    collection: str,
    queries: Queries,
    k: int = 10,
    where: Where | None = None,
    min_similarity: float | None = None,
    *,
    exact: bool = False,
) -> list[list[Hit]]:
    """Find the pictures most similar to each query; the server filters and searches.

    Args:
        client: Client of a server.
        collection: A collection that `push` made.
        queries: The queries.
        k: Number of pictures.
        where: As for `Index.search`.
        min_similarity: Less similar pictures are left out.
        exact: Compare with all vectors, not by the graph of the server.

    Returns:
        Hits as of `Index.search`, with float32 products of the server as similarities. Equally
        similar pictures are in the order of their rows; which of them is the last may differ.

    Raises:
        ConfigError: If `where` filters by anything but label, or the client is of a local folder.
        RunError: If a point has another payload than `push` gives.
    """
    from qdrant_client import models

    refuse_folder(client)
    labels = wanted_labels(where)
    lists = []
    for vector, digest in zip(unit(queries.vectors).tolist(), queries.digests, strict=True):
        found = client.query_points(
            collection,
            query=vector,
            query_filter=None if labels is None else _filter(labels),
            search_params=models.SearchParams(exact=exact),
            limit=k,
            score_threshold=min_similarity,
            with_payload=True,
        ).points
        hits = [_hit(each, digest, labels) for each in found]
        hits.sort(key=lambda each: (-each.similarity, each.row))
        lists.append([replace(each, rank=rank) for rank, each in enumerate(hits, 1)])
    return lists


def _filter(labels: Sequence[str | None]) -> Filter:
    from qdrant_client import models

    named = [each for each in labels if each is not None]
    conditions: list[Any] = [models.FieldCondition(key="label", match=models.MatchAny(any=named))]
    if None in labels:
        value = models.MatchValue(value=True)
        conditions.append(models.FieldCondition(key="unlabelled", match=value))
    return models.Filter(should=conditions)


def _hit(point: ScoredPoint, digest: bytes | None, labels: Sequence[str | None] | None) -> Hit:
    try:
        payload = point.payload or {}
        files = list(zip(payload["paths"], payload["labels"], strict=True))
        if labels is not None:
            files.sort(key=lambda each: each[1] not in labels)
        paths = list(dict.fromkeys(str(path) for path, _ in files))
        same = digest is not None and digest.hex() == payload["sha256"]
        label, row = files[0][1], int(payload["row"])
        return Hit(0, point.score, paths[0], label, row, same, tuple(paths[1:]))
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise RunError(
            f"the point {printable(str(point.id))} was not made by index push"
        ) from error
