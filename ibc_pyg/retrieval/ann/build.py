"""Building of an approximate search, with its recall measured against the exact one."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console

from ibc_pyg.console import Progress, info
from ibc_pyg.errors import RunError, printable, program, reason
from ibc_pyg.files import file_digest, open_draft
from ibc_pyg.retrieval.ann.centroids import centroid_index, spherical_centroids
from ibc_pyg.retrieval.ann.engine import Engine, import_faiss
from ibc_pyg.retrieval.ann.measure import Recall, least_effort
from ibc_pyg.retrieval.ann.record import AnnRecord, AnnSettings, vector_fingerprint
from ibc_pyg.retrieval.nearest import Mask
from ibc_pyg.retrieval.store.ann_files import ann_name, record_of, remove_ann
from ibc_pyg.retrieval.store.vectors import Vectors

_CHUNK = 2**24
"""Numbers of the vectors that are added at a time."""
_TRAINING = 16
"""Training vectors of each inverted list."""
_LISTS, _MOST_LISTS = 16, 2**16
"""Lists for each root of the number of vectors. Descriptors are clusters, and a list that holds
several of them loses their borders: with 4 a million vectors of 10,000 clusters need 240 lists for
a recall of 0.95, with 16 a few."""
_NEIGHBOURS, _EF_CONSTRUCTION = 32, 200


def build_ann(
    folder: Path,
    generation: int,
    vectors: Vectors,
    allowed: Mask | None,
    settings: AnnSettings,
    console: Console,
) -> AnnRecord | None:
    """Build the approximate search of an index, and remove earlier ones.

    Args:
        folder: The index, whose lock the caller has.
        generation: Number of its vector file.
        vectors: All committed vectors, `[N, D]`.
        allowed: Which rows have a picture; None for all. Recall is measured with these.
        settings: Kind of search and wanted recall.
        console: Console of the progress and the measured recall.

    Returns:
        None if the search is exact.

    Raises:
        RunError: If faiss is not installed, or the disk is full.
    """
    live = len(vectors) if allowed is None else int(np.count_nonzero(allowed))
    if not live or settings.kind_for(*vectors.shape) == "exact":
        remove_ann(folder, "-")
        return None
    faiss = import_faiss()
    began = time.perf_counter()
    kind = settings.kind_for(*vectors.shape)
    chosen = np.arange(len(vectors)) if allowed is None else np.flatnonzero(allowed)
    index, parameters = _graph(faiss, vectors) if kind == "hnsw" else _lists(faiss, vectors, chosen)
    seconds = {"train": time.perf_counter() - began}
    _add(index, vectors, console)
    seconds["add"] = time.perf_counter() - began - sum(seconds.values())
    engine = Engine(index)
    recall = Recall(engine, vectors, chosen)
    effort = least_effort(recall, engine, settings.recall)
    seconds["measure"] = time.perf_counter() - began - sum(seconds.values())
    fingerprint = vector_fingerprint(vectors)
    data, sha256 = _write(faiss, index, folder / ann_name(generation, len(vectors), fingerprint))
    record_file = record_of(data)
    record = AnnRecord(
        kind=kind,
        rows=len(vectors),
        dim=vectors.shape[1],
        fingerprint=fingerprint,
        size=data.stat().st_size,
        sha256=sha256,
        parameters=parameters,
        effort=effort,
        recall=recall(effort),
        target=settings.recall,
        sample=recall.sample,
        table=[[effort, value] for effort, value in sorted(recall.table.items())],
        seconds={name: round(value, 2) for name, value in seconds.items()},
        faiss=str(faiss.__version__),
    )
    record.write(record_file)
    remove_ann(folder, record_file.stem)
    info(console, f"approximate search: {record}")
    if record.recall < record.target:
        info(
            console,
            f"that is less than the wanted recall of {record.target:g}, with the greatest effort; "
            f"search exactly: {program()} index rebuild {printable(folder)} --ann exact",
        )
    return record


def _lists(
    faiss: Any, vectors: Vectors, chosen: npt.NDArray[np.int64]
) -> tuple[Any, dict[str, int]]:
    """Return trained, empty inverted lists and their parameters."""
    dim, rows = vectors.shape[1], len(chosen)
    lists = min(2 ** round(np.log2(_LISTS * rows**0.5)), _MOST_LISTS)
    lists = min(lists, 2 ** int(np.log2(max(1, rows // _TRAINING))))
    sample = chosen
    if rows > _TRAINING * lists:
        sample = np.sort(np.random.default_rng(0).choice(chosen, _TRAINING * lists, replace=False))
    x = np.ascontiguousarray(vectors[sample], np.float32)  # [n, D]
    quantizer = centroid_index(faiss, spherical_centroids(faiss, x, lists))
    index = faiss.IndexIVFScalarQuantizer(
        quantizer,
        dim,
        lists,
        faiss.ScalarQuantizer.QT_fp16,
        faiss.METRIC_INNER_PRODUCT,
        False,  # codes of the vectors, not of differences from centroids
    )
    index.train(x[:1])  # the centroids are there
    return index, {"lists": lists}


def _graph(faiss: Any, vectors: Vectors) -> tuple[Any, dict[str, int]]:
    """Return an empty graph of fp16 codes and its parameters."""
    index = faiss.IndexHNSWSQ(
        vectors.shape[1],
        faiss.ScalarQuantizer.QT_fp16,
        _NEIGHBOURS,
        faiss.METRIC_INNER_PRODUCT,
    )
    index.hnsw.efConstruction = _EF_CONSTRUCTION
    index.train(np.ascontiguousarray(vectors[:1], np.float32))
    return index, {"neighbours": _NEIGHBOURS, "ef_construction": _EF_CONSTRUCTION}


def _add(index: Any, vectors: Vectors, console: Console) -> None:
    step = max(1, _CHUNK // vectors.shape[1])
    with Progress(len(vectors), "approximate search", console=console) as bar:
        for start in range(0, len(vectors), step):
            index.add(np.ascontiguousarray(vectors[start : start + step], np.float32))
            bar.update(min(start + step, len(vectors)))


def _write(faiss: Any, index: Any, name: Path) -> tuple[Path, str]:
    """Write a file atomically; return it and its digest, which is a part of its name."""
    draft: Path | None = None
    try:
        draft, file = open_draft(name)
        with file:
            # faiss writes by name.
            faiss.write_index(index, str(draft))
            os.fsync(file.fileno())
        digest = file_digest(draft)
        path = name.with_name(f"{name.name}.{digest[:12]}.faiss")
        draft.replace(path)
    except (OSError, RuntimeError) as error:
        raise RunError(
            f"{printable(name)} cannot be written: {reason(error)}; the index is complete, and is "
            "searched exactly"
        ) from error
    finally:
        if draft is not None:
            draft.unlink(missing_ok=True)
    return path, digest
