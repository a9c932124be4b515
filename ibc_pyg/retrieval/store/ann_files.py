"""Names of the files of the approximate search, which are derived from the vectors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path


def ann_prefix(generation: int) -> str:
    """Return the beginning of the names of a generation."""
    return f"ann-{generation:06d}-"


def ann_name(generation: int, rows: int, fingerprint: str) -> str:
    """Return the name of the files for the first rows of a vector file.

    A dot, a part of the digest and a suffix follow: a new file never replaces one that a reader is
    about to open.
    """
    return f"{ann_prefix(generation)}{rows:09d}-{fingerprint}"


def ann_records(folder: Path, generation: int) -> list[Path]:
    """Return the records (.json) of a generation, the one of most rows first."""
    return sorted(folder.glob(f"{ann_prefix(generation)}*.json"), reverse=True)


def data_file(record: Path) -> Path:
    """Return the file that a record describes."""
    return record.with_suffix(".faiss")


def record_of(data: Path) -> Path:
    """Return the record of a file."""
    return data.with_suffix(".json")


def remove_ann(folder: Path, keep: str) -> None:
    """Remove all files of the approximate search but those whose names begin with `keep`."""
    for each in _files(folder):
        if not each.name.startswith(keep):
            # Windows keeps a file that a reader has mapped; the next writer removes it.
            with suppress(OSError):
                each.unlink()


def _files(folder: Path) -> Iterator[Path]:
    yield from folder.glob("ann-*")
    yield from folder.glob(".ann-*")
