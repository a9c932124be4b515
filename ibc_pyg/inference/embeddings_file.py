"""Files of embeddings for exchange with other programs: npz without pickles."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ibc_pyg.data.npz import NpzError, read_npz
from ibc_pyg.data.table import ImageTable
from ibc_pyg.errors import RunError, printable, reason
from ibc_pyg.files import write_atomically
from ibc_pyg.inference.extract import Descriptors, EvalDescriptors
from ibc_pyg.metrics.inputs import as_embeddings, as_labels, class_indices

Labels = npt.NDArray[np.generic]


def save_embeddings(path: Path, descriptors: EvalDescriptors, table: ImageTable) -> None:
    """Write descriptors with their classes and image paths.

    The file holds `embeddings` (float32 `[Q, D]`), `labels` (int64 `[Q]`) and `paths` (text
    `[Q]`), and where queries and gallery differ `gallery`, `gallery_labels` and `gallery_paths`.

    Args:
        path: The npz file.
        descriptors: Descriptors of queries and gallery.
        table: The data set that their rows refer to.

    Raises:
        RunError: If the file cannot be written.
    """
    if descriptors.same:
        raise RunError(
            "aqe compares expanded queries with images as they are, which a file of embeddings "
            "cannot say; use --refine dba, or omit --save-embeddings"
        )
    arrays: dict[str, Any] = {}
    parts = [("", descriptors.queries)]
    if descriptors.gallery is not None:
        parts.append(("gallery", descriptors.gallery))
    for name, part in parts:
        prefix = f"{name}_" if name else ""
        arrays[name or "embeddings"] = part.vectors.float().numpy()
        arrays[f"{prefix}labels"] = part.labels.numpy().astype(np.int64)
        arrays[f"{prefix}paths"] = np.array([table.paths[row] for row in part.rows], dtype=np.str_)
    content = io.BytesIO()
    np.savez(content, **arrays)
    write_atomically(path, content.getvalue())


def read_embeddings(path: Path) -> EvalDescriptors:
    """Read embeddings of another program.

    The file is an npz with `embeddings` (`[Q, D]`, real numbers, of any norm) and `labels` (`[Q]`,
    integers or strings). With `gallery` (`[G, D]`) and `gallery_labels` (`[G]`), queries are
    searched in the gallery, otherwise among each other. Other entries are ignored.

    Returns:
        The embeddings unchanged, float32 or float64, and their classes numbered from 0.

    Raises:
        RunError: If the file does not have this form; the message is one line and names the entry.
    """
    if not path.is_file():
        raise RunError(f"{printable(path)} is not a file; give an npz file")
    try:
        arrays = read_npz(path, ("embeddings", "labels", "gallery", "gallery_labels"))
    except OSError as error:
        raise RunError(f"{printable(path)} cannot be read: {reason(error)}") from error
    except NpzError as error:
        raise RunError(f"{printable(path)} cannot be read, {reason(error)}") from error
    for name in ("embeddings", "labels"):
        if name not in arrays:
            raise RunError(f"{printable(path)} has no array {name!r}")
    if ("gallery" in arrays) != ("gallery_labels" in arrays):
        raise RunError(
            f"{printable(path)}: gallery and gallery_labels go together; give both or neither"
        )
    try:
        vectors, labels = _part(arrays, "embeddings", "labels")
        if "gallery" not in arrays:
            classes, _ = class_indices(labels, None)
            return EvalDescriptors(_descriptors(vectors, classes), None)
        gallery, gallery_labels = _part(arrays, "gallery", "gallery_labels")
        if gallery.shape[1] != vectors.shape[1]:
            raise ValueError(
                f"gallery has {gallery.shape[1]} dimensions, embeddings has {vectors.shape[1]}"
            )
        classes, gallery_classes = class_indices(labels, gallery_labels)
    except ValueError as error:
        raise RunError(f"{printable(path)}: {error}") from error
    return EvalDescriptors(_descriptors(vectors, classes), _descriptors(gallery, gallery_classes))


def _part(arrays: dict[str, npt.NDArray[Any]], name: str, labels: str) -> tuple[Tensor, Labels]:
    vectors = as_embeddings(arrays[name], name)
    return vectors, as_labels(arrays[labels], labels, len(vectors), name)


def _descriptors(vectors: Tensor, classes: Tensor) -> Descriptors:
    return Descriptors(np.arange(len(vectors)), vectors, torch.as_tensor(classes))
