"""Refinement of the vectors of an index, in chunks."""

from __future__ import annotations

import shutil
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import numpy as np
from rich.console import Console

from ibc_pyg.errors import ConfigError, RunError, printable, program, reason
from ibc_pyg.files import make_folder, refuse_link
from ibc_pyg.refinement import Parameters, parameters_of
from ibc_pyg.refinement.learned.files import load_refiner
from ibc_pyg.retrieval.ann.build import build_ann
from ibc_pyg.retrieval.ann.engine import import_faiss
from ibc_pyg.retrieval.ann.record import AnnSettings
from ibc_pyg.retrieval.ann.searcher import Searcher
from ibc_pyg.retrieval.fingerprint import Fingerprint
from ibc_pyg.retrieval.lookup import allowed_rows
from ibc_pyg.retrieval.nearest import Mask, NearestRows
from ibc_pyg.retrieval.refined.averages import write_averages
from ibc_pyg.retrieval.refined.diffusion import write_diffusion
from ibc_pyg.retrieval.refined.learned import write_refined
from ibc_pyg.retrieval.refined.record import (
    FOLDER,
    REFINER,
    STORED,
    RefinedRecord,
    check_method,
    refiner_parameters,
    state_digest,
)
from ibc_pyg.retrieval.refined.writing import Writing
from ibc_pyg.retrieval.store.ann_files import remove_ann
from ibc_pyg.retrieval.store.vectors import Vectors
from ibc_pyg.retrieval.store.writer import StoreWriter
from ibc_pyg.runs.run_folder import REFINER as REFINER_FILE

_KINDS = ("*.f32", "*.lists", "*.safetensors")
_NONE = "-"


def build_refined(
    writer: StoreWriter,
    method: str,
    parameters: Parameters | None,
    model: Fingerprint,
    console: Console,
    refiner: Path | None = None,
) -> RefinedRecord:
    """Refine all vectors of an index and store what a search needs beside it, instead of earlier.

    Neighbours are those of the search of the index, so approximate in a large one; those of a
    second round are found exactly.

    Args:
        writer: The index.
        method: One of `STORED`.
        parameters: Its parameters, share < 1; None takes the defaults. The trained refiner has its
            own.
        model: Model of the index.
        console: Console of the progress.
        refiner: Folder with the trained refiner of this model.

    Raises:
        ConfigError: If the method stores nothing, or the parameters do not apply.
        RunError: If there are no pictures, the refiner is missing or of another model, or the disk
            is full.
    """
    check_method(method)
    if method not in STORED:
        raise ConfigError(
            f"{method} stores nothing in an index: {program()} search INDEX QUERY --refine {method}"
        )
    learned = None
    if method == REFINER:
        if refiner is None or parameters is not None:
            raise ConfigError("a trained refiner is that of a folder, and has its own parameters")
        learned = load_refiner(refiner, weights=model.weights)
        if learned.channels != model.dim:
            raise RunError(f"the refiner is for {learned.channels} dimensions, not {model.dim}")
        parameters = refiner_parameters(learned.config.k, learned.config.rounds, learned.share)
    elif parameters is None:
        parameters = parameters_of(method)
    if parameters.share == 1 or not parameters.k:
        raise ConfigError(
            "with a share of 1 or a k of 0 nothing is refined; search without --refine"
        )
    vectors, folder = writer.map(), writer.folder
    with writer.catalogue.reading() as sql:
        allowed, settings = allowed_rows(sql, len(vectors), None), AnnSettings.of(sql)
    live = np.ones(len(vectors), np.bool_) if allowed is None else allowed
    if not live.any():
        raise RunError(f"{printable(folder)} has no pictures to refine")
    refuse_link(folder / FOLDER)
    make_folder(folder / FOLDER)
    searcher, generation = Searcher(folder, silent=True), writer.state.generation

    def find(queries: Vectors, k: int) -> NearestRows:
        return searcher.search(vectors, generation, settings, queries, k, allowed)

    files = Writing(folder, vectors, live, find, console)
    if method == "diffusion":
        write_diffusion(files, parameters)
        remove_ann(folder / FOLDER, keep=_NONE)
    else:
        if learned is not None and refiner is not None:
            last = write_refined(files, learned, refiner / REFINER_FILE)
        else:
            last = write_averages(files, parameters)
        _build_ann(folder, last, allowed, settings, console)
    record = RefinedRecord(
        method=method,
        rows=len(vectors),
        state=state_digest(vectors, allowed, model.digest),
        sha256=files.digests,
        **asdict(parameters),
    )
    record.write(folder)
    for each in (path for kind in _KINDS for path in (folder / FOLDER).glob(kind)):
        if each not in files.paths:
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
