"""A finished part of a job: one file, written whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from ibc_pyg.errors import RunError, first_line, printable, program, reason
from ibc_pyg.files import check_safetensors, parse_json, write_atomically
from ibc_pyg.retrieval.store.vectors import Vectors
from ibc_pyg.retrieval.update.scan import Listed


@dataclass(frozen=True)
class PartHeader:
    """Job and model that a part belongs to.

    Attributes:
        job: Digest of the job.
        shard: Number of the part.
        model: Fingerprint of the model that made the vectors, as JSON.
    """

    job: str
    shard: int
    model: str


@dataclass(frozen=True)
class Found:
    """A picture of a part.

    Attributes:
        unit: Place in the list of the part: of the picture, or of its tar file.
        listed: The picture; size and time are those of the bytes that were read.
        row: Row of its vector in the part; None if it is skipped.
        reason: Why it is skipped.
    """

    unit: int
    listed: Listed
    row: int | None
    reason: str = ""


@dataclass(frozen=True)
class PartContent:
    """Pictures and vectors of a part.

    Attributes:
        found: The pictures, in their order.
        digests: SHA-256 of each content, `V` of them, in the order of their first pictures.
        vectors: `[V, D]`.
    """

    found: list[Found]
    digests: list[bytes]
    vectors: Vectors


def write_part(path: Path, header: PartHeader, content: PartContent) -> None:
    """Write a part; the same pictures give the same bytes.

    Raises:
        RunError: If the disk is full or the folder cannot be written.
    """
    rows = [
        [
            each.unit, each.listed.path, each.listed.label, each.listed.size, each.listed.mtime_ns,
            each.row, each.reason,
        ]
        for each in content.found
    ]  # fmt: skip
    names = json.dumps(rows, separators=(",", ":")).encode()
    digests = np.frombuffer(b"".join(content.digests), np.uint8)  # [V * 32]
    tensors: dict[str, npt.NDArray[np.generic]] = {
        "digests": digests.reshape(-1, 32),  # [V, 32]
        "names": np.frombuffer(names, np.uint8),  # [bytes]
        "vectors": np.ascontiguousarray(content.vectors, "<f4"),  # [V, D]
    }
    metadata = {"job": header.job, "shard": str(header.shard), "model": header.model}
    # The library orders metadata at random; JSON of one key keeps the bytes the same.
    write_atomically(path, save(tensors, {"part": json.dumps(metadata, sort_keys=True)}))


def read_header(path: Path) -> PartHeader:
    """Read what a part belongs to.

    Raises:
        RunError: If it is damaged or cannot be read.
    """
    with _opened(path) as file:
        return _header(path, file.metadata())


def read_part(path: Path, dim: int) -> PartContent:
    """Read a part.

    Args:
        path: Its file.
        dim: Length D of a vector.

    Raises:
        RunError: If it is damaged or cannot be read.
    """
    with _opened(path) as file:
        try:
            tensors = {each: file.get_tensor(each) for each in ("digests", "names", "vectors")}
            digests, vectors = tensors["digests"], tensors["vectors"]
            found = list(_found(parse_json(tensors["names"].tobytes()), len(vectors)))
            shapes = vectors.shape == (len(digests), dim) and digests.shape[1:] == (32,)
            if not (shapes and vectors.dtype == np.float32 and digests.dtype == np.uint8):
                raise ValueError("its tensors have other shapes")
            if not np.isfinite(vectors).all():
                raise ValueError("its vectors are not finite")
        except (SafetensorError, ValueError, TypeError) as error:
            raise _damaged(path, first_line(error)) from error
    return PartContent(found, [each.tobytes() for each in digests], vectors)


def _found(rows: object, vectors: int) -> Iterator[Found]:
    if not isinstance(rows, list):
        raise ValueError("it does not list its pictures")
    for unit, path, label, size, mtime_ns, row, why in rows:
        texts = isinstance(path, str) and isinstance(label, str | None) and isinstance(why, str)
        numbers = all(isinstance(each, int | None) for each in (size, mtime_ns, row))
        if not (texts and numbers and isinstance(unit, int)):
            raise ValueError("a picture of it has no name")
        if row is not None and not 0 <= row < vectors:
            raise ValueError("a picture of it has no vector")
        yield Found(unit, Listed(path, label, size, mtime_ns), row, why)


def _opened(path: Path) -> safe_open:
    try:
        check_safetensors(path)
        return safe_open(path, "np")
    except (OSError, SafetensorError) as error:
        why = reason(error) if isinstance(error, OSError) else first_line(error)
        raise _damaged(path, why) from error


def _header(path: Path, metadata: dict[str, str] | None) -> PartHeader:
    try:
        found = parse_json((metadata or {})["part"])
        job, shard, model = str(found["job"]), int(found["shard"]), str(found["model"])
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(path, "it is not a part of a job") from error
    return PartHeader(job, shard, model)


def _damaged(path: Path, why: str) -> RunError:
    return RunError(
        f"{printable(path)} is damaged ({why}); remove it, and run: {program()} index work JOB"
    )
