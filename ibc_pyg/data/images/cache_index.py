"""Index of an image cache: offsets of the images, and validity of the cache."""

from __future__ import annotations

import hashlib
import io
import json
import os
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ibc_pyg.data.npz import NpzError, read_npz
from ibc_pyg.data.table import ImageTable
from ibc_pyg.files import MAX_JSON, open_input, parse_json, read_bounded

FORMAT = 1
"""Incremented when the layout or the pixels change, so that older caches are rebuilt."""

PIXELS = "pixels.bin"
_INDEX = "index.npz"
_META = "meta.json"
MAX_SIDE = 2**20
MAX_INDEX = 512 * 2**20


class StaleCacheError(Exception):
    """The cache is missing, damaged, or belongs to other images."""


@dataclass
class CacheIndex:
    """Offsets and sizes of the images in the pixel file.

    Attributes:
        offsets: First byte of each image, int64 `[M]`.
        sizes: Height and width, int32 `[M, 2]`; 0 for an image that could not be read.
        checksums: CRC-32 of the bytes of each image, uint32 `[M]`.
        broken: Why an image could not be read, by its row.
    """

    offsets: npt.NDArray[np.int64]
    sizes: npt.NDArray[np.int32]
    checksums: npt.NDArray[np.uint32]
    broken: dict[int, str] = field(default_factory=dict)

    @property
    def num_bytes(self) -> int:
        """Size of the pixel file in bytes."""
        return int((self.sizes.astype(np.int64).prod(axis=1) * 3).sum())


def content_key(table: ImageTable, resize: int) -> str:
    """Return a hash of `resize` and of the names, sizes and modification times of the files.

    The folder is left out, so that a moved data set keeps its cache.
    """
    digest = hashlib.sha256(f"{FORMAT} {resize} {len(table)}\n".encode())
    root = table.root or Path()
    for path in table.paths:
        try:
            status = (root / path).stat()
            line = f"{path}\0{status.st_size}\0{status.st_mtime_ns}\n"
        except OSError:
            line = f"{path}\0missing\n"
        digest.update(line.encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def save_index(folder: Path, index: CacheIndex, key: str) -> None:
    """Write the index into `folder`.

    Raises:
        OSError: If it cannot be written.
    """
    buffer = io.BytesIO()
    np.savez(buffer, offsets=index.offsets, sizes=index.sizes, checksums=index.checksums)
    (folder / _INDEX).write_bytes(buffer.getvalue())
    meta = {
        "key": key,
        "index_sha256": hashlib.sha256(buffer.getvalue()).hexdigest(),
        "broken": {str(row): reason for row, reason in index.broken.items()},
    }
    (folder / _META).write_text(json.dumps(meta, indent=1), encoding="utf-8")


def load_index(folder: Path, key: str) -> CacheIndex:
    """Read the index in `folder`.

    Raises:
        StaleCacheError: If the cache is missing, damaged, or was built from other images.
    """
    try:
        meta = parse_json(read_bounded(folder / _META, MAX_JSON))
        data = read_bounded(folder / _INDEX, MAX_INDEX)
        if meta["key"] != key:
            raise StaleCacheError("it was built from other images")
        if meta["index_sha256"] != hashlib.sha256(data).hexdigest():
            raise StaleCacheError("its index is damaged")
        arrays = read_npz(folder / _INDEX, ("offsets", "sizes", "checksums"))
        index = CacheIndex(
            arrays["offsets"],
            arrays["sizes"],
            arrays["checksums"],
            {int(row): str(reason) for row, reason in meta["broken"].items()},
        )
        with open_input(folder / PIXELS) as file:
            length = os.fstat(file.fileno()).st_size
    except FileNotFoundError:
        raise StaleCacheError("it is missing") from None
    except (OSError, NpzError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise StaleCacheError(f"it is damaged ({error})") from None
    if problem := _problem(index, length):
        raise StaleCacheError(f"it is damaged ({problem})")
    return index


def _problem(index: CacheIndex, length: int) -> str | None:
    """Return why an index cannot belong to a pixel file of `length` bytes, or None."""
    count = len(index.sizes)
    expected = (
        (index.offsets, (count,), "int64"),
        (index.sizes, (count, 2), "int32"),
        (index.checksums, (count,), "uint32"),
    )
    if any(array.shape != shape or array.dtype.name != kind for array, shape, kind in expected):
        return "its arrays have other types or shapes"
    sizes = index.sizes.astype(np.int64)
    if (index.offsets < 0).any() or ((sizes < 0) | (sizes > MAX_SIDE)).any():
        return "an image has no place in the pixel file"
    if count and (index.offsets + sizes.prod(axis=1) * 3).max() > length:
        return f"its pixel file has only {length} bytes"
    if not set(np.flatnonzero((sizes == 0).any(axis=1)).tolist()) <= index.broken.keys():
        return "an image is missing"
    return None
