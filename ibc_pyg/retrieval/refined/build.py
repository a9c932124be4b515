"""Refinement of the vectors of an index, in chunks."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from torch import Tensor

from ibc_pyg.console import Progress
from ibc_pyg.errors import ConfigError, RunError, printable, reason
from ibc_pyg.files import make_folder, open_draft, refuse_link
from ibc_pyg.metrics import Neighbours
from ibc_pyg.refinement import Parameters, average
from ibc_pyg.refinement.method import mixed
from ibc_pyg.retrieval.ann.build import build_ann
from ibc_pyg.retrieval.ann.engine import import_faiss
from ibc_pyg.retrieval.ann.record import AnnSettings
from ibc_pyg.retrieval.ann.searcher import Searcher
from ibc_pyg.retrieval.lookup import allowed_rows
from ibc_pyg.retrieval.nearest import Mask, NearestRows, nearest_rows, unit
from ibc_pyg.retrieval.refined.record import FOLDER, STORED, RefinedRecord, state_digest
from ibc_pyg.retrieval.store.vectors import Vectors, map_vectors
from ibc_pyg.retrieval.store.writer import StoreWriter

Find = Callable[[Vectors, int], NearestRows]
"""Search for the k nearest live rows of queries `[Q, D]`."""

_CHUNK = 2**22
"""Numbers of the vectors that are refined at a time, with their neighbours."""


def build_refined(
    writer: StoreWriter, method: str, parameters: Parameters, model: str, console: Console
) -> RefinedRecord:
    """Refine all vectors of an index and store them beside it, instead of earlier ones.

    Neighbours are those of the search of the index, so approximate in a large one; those of a
    second round are found exactly.

    Args:
        writer: The index.
        method: `dba`.
        parameters: Its parameters; share < 1.
        model: Fingerprint of the model of the index.
        console: Console of the progress.

    Raises:
        ConfigError: If the method stores nothing.
        RunError: If there are no pictures, or the disk is full.
    """
    if method not in STORED:
        raise ConfigError(
            f"{method} has no refined vectors that an index could store; use {', '.join(STORED)}"
        )
    if parameters.share == 1:
        raise ConfigError("with a share of 1 nothing is refined; search without --refine")
    vectors, folder = writer.map(), writer.folder
    with writer.catalogue.reading() as sql:
        allowed, settings = allowed_rows(sql, len(vectors), None), AnnSettings.of(sql)
    if not len(vectors) or (allowed is not None and not allowed.any()):
        raise RunError(f"{printable(folder)} has no pictures to refine")
    refuse_link(folder / FOLDER)
    make_folder(folder / FOLDER)
    searcher, generation = Searcher(folder, silent=True), writer.state.generation
    stage, digests, paths = vectors, [], []

    def first(queries: Vectors, k: int) -> NearestRows:
        return searcher.search(vectors, generation, settings, queries, k, allowed)

    find: Find = first
    for number in range(parameters.rounds):
        last = number == parameters.rounds - 1
        share = parameters.share if last else 0
        path, digest = _write(
            folder, number, vectors, stage, find, allowed, parameters, share, console
        )
        digests.append(digest)
        paths.append(path)
        width = 2 * vectors.shape[1] if share else vectors.shape[1]
        stage = map_vectors(path, len(vectors), width)

        def find(queries: Vectors, k: int, stage: Vectors = stage) -> NearestRows:
            return nearest_rows(stage, queries, k, allowed)

    _build_ann(folder, stage, allowed, settings, console)
    state = state_digest(vectors, allowed, model)
    record = RefinedRecord(
        method=method, rows=len(vectors), state=state, sha256=digests, **asdict(parameters)
    )
    record.write(folder)
    for each in (folder / FOLDER).glob("*.f32"):
        if each not in paths:
            with suppress(OSError):
                each.unlink()
    return record


def remove_refined(folder: Path) -> bool:
    """Delete the refined vectors of an index; return whether there were any."""
    path = folder / FOLDER
    refuse_link(path)
    if not path.exists():
        return False
    try:
        shutil.rmtree(path)
    except OSError as error:
        raise RunError(f"{printable(path)} cannot be deleted: {reason(error)}") from error
    return True


def averaged(vectors: Vectors, x: Tensor, found: NearestRows, power: float) -> Tensor:
    """Average descriptors with their neighbours.

    Args:
        vectors: `[N, D]`.
        x: Unit-norm float32 `[Q, D]`.
        found: Neighbours of each, `[Q, k]`.
        power: Exponent of the cosine.

    Returns:
        Unit-norm float32 `[Q, D]`; see `ibc_pyg.refinement.average`.
    """
    rows, place = np.unique(found.rows, return_inverse=True)
    near = Neighbours(
        torch.from_numpy(place.reshape(found.rows.shape)),
        torch.from_numpy(found.similarities),
    )
    return average(x, unit(vectors[rows]), near, power)


def without_itself(
    found: NearestRows, own: np.ndarray[tuple[int], np.dtype[np.int64]]
) -> NearestRows:
    """Leave row `own[i]` out of list i, or else its last entry: `[Q, k + 1] -> [Q, k]`."""
    rest = found.rows != own[:, None]  # [Q, k + 1]
    rest[:, -1] &= ~rest[:, :-1].all(1)
    shape = (len(own), found.rows.shape[1] - 1)
    return NearestRows(found.rows[rest].reshape(shape), found.similarities[rest].reshape(shape))


def _write(
    folder: Path,
    number: int,
    vectors: Vectors,
    stage: Vectors,
    find: Find,
    allowed: Mask | None,
    parameters: Parameters,
    share: float,
    console: Console,
) -> tuple[Path, str]:
    """Write the refined vectors of a round; rows without a picture are zeros."""
    name, digest = folder / FOLDER / f"{number + 1}.f32", hashlib.sha256()
    live = np.ones(len(vectors), np.bool_) if allowed is None else allowed
    most = min(parameters.k, int(live.sum()) - 1)
    step = max(1, _CHUNK // (vectors.shape[1] * (most + 1)))
    draft: Path | None = None
    try:
        draft, file = open_draft(name)
        with file, Progress(len(vectors), "refinement", console=console) as bar:
            for start in range(0, len(vectors), step):
                own = np.arange(start, min(start + step, len(vectors)))
                own_live = own[live[own]]
                x = unit(stage[own_live])  # [n, D]
                if most > 0 and len(own_live):
                    found = without_itself(find(stage[own_live], most + 1), own_live)
                    x = averaged(stage, x, found, parameters.power)
                x = mixed(unit(vectors[own_live]), x, share)  # [n, D']
                out = np.zeros((len(own), x.shape[1]), np.dtype("<f4"))
                out[live[own]] = x.numpy()
                part = out.tobytes()
                digest.update(part)
                file.write(part)
                bar.update(own[-1] + 1)
            file.flush()
            os.fsync(file.fileno())
        path = name.with_name(f"{number + 1}-{digest.hexdigest()[:12]}.f32")
        draft.replace(path)
    except OSError as error:
        raise RunError(f"{printable(name)} cannot be written: {reason(error)}") from error
    finally:
        if draft is not None:
            draft.unlink(missing_ok=True)
    return path, digest.hexdigest()


def _build_ann(
    folder: Path, vectors: Vectors, allowed: Mask | None, settings: AnnSettings, console: Console
) -> None:
    if settings.kind_for(*vectors.shape) != "exact":
        try:
            import_faiss()
        except RunError:
            if settings.kind != "auto":
                raise
            return
    build_ann(folder / FOLDER, 1, vectors, allowed, settings, console)
