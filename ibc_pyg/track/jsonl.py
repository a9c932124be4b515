"""Local record of a run, one JSON object on each line."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

from ibc_pyg.errors import RunError, printable, reason
from ibc_pyg.files import open_in_place, parse_json, read_bounded
from ibc_pyg.track.base import Picture, Record

MAX_BYTES = 256 * 2**20
"""Most bytes of a file that is read; a million records have about this size."""


class JsonlTracker:
    """Appends each set of scalars to a file as one line of JSON, flushed at once.

    A line is valid JSON by RFC 8259: NaN and infinities are written as null. An existing file is
    continued; an incomplete last line, left by a kill, is removed. Pictures and the summary are not
    part of this file.

    Args:
        path: The file; its folder is made if it is missing.
        clock: Returns the `time` of a record in seconds.

    Raises:
        RunError: If the file cannot be written, or is a link.
    """

    def __init__(self, path: Path | str, *, clock: Callable[[], float] = time.time) -> None:
        self.path = Path(path)
        self._clock = clock
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file: IO[bytes] | None = self._open()
            _drop_incomplete_line(self._file)
        except OSError as error:
            raise RunError(
                f"{printable(self.path)}: cannot write the metrics: {reason(error)}"
            ) from error

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.path)!r})"

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Append one record.

        Args:
            step: Number of optimiser steps done.
            values: Name to value; anything that `float` takes.

        Raises:
            ValueError: If the tracker is closed, or a value is named `step` or `time`.
            RunError: If the record cannot be written, as when the disk is full.
        """
        if self._file is None:
            raise ValueError(f"{self.path} is closed")
        if taken := {"step", "time"} & values.keys():
            raise ValueError(f"values must not be named {sorted(taken)}: the record uses them")
        record: Record = {"step": int(step), "time": round(self._clock(), 3)}
        record.update((name, _finite(value)) for name, value in values.items())
        try:
            self._file.write(json.dumps(record, allow_nan=False).encode() + b"\n")
            self._file.flush()
        except OSError as error:
            raise RunError(f"{self.path} cannot be written: {error.strerror}") from error

    def image(self, step: int, name: str, picture: Picture, caption: str = "") -> None:
        """Do nothing: pictures are not part of the file."""

    def summary(self, values: Mapping[str, float]) -> None:
        """Do nothing: the run folder has a separate file for the summary."""

    def artifact(self, name: str, kind: str, files: Sequence[Path]) -> None:
        """Do nothing: the files are in the run folder."""

    def rewind(self, records: Sequence[Record]) -> None:
        """Do nothing: whoever restores a checkpoint cuts the file."""

    def close(self) -> None:
        """Close the file; may be called twice."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _open(self) -> IO[bytes]:
        return open_in_place(self.path)


def _drop_incomplete_line(file: IO[bytes]) -> None:
    file.seek(0)
    content = file.read()
    if content and not content.endswith(b"\n"):
        file.truncate(content.rfind(b"\n") + 1)


def read_jsonl(path: Path | str) -> list[Record]:
    """Read the records that a `JsonlTracker` wrote.

    Args:
        path: The file. An incomplete last line is left out.

    Returns:
        The records in order; a value that was not finite is None.

    Raises:
        RunError: If the file is missing, or a line is not a JSON object with a step.
    """
    path = Path(path)
    try:
        lines = read_bounded(path, MAX_BYTES).decode("utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        problem = error.strerror if isinstance(error, OSError) else "not a text file"
        raise RunError(f"{path}: cannot read the metrics: {problem}") from error
    records = []
    for number, line in enumerate(lines[:-1], start=1):
        try:
            record = parse_json(line)
        except ValueError:
            record = None
        if not isinstance(record, dict) or not isinstance(record.get("step"), int):
            raise RunError(f"{path}, line {number}: not a metrics record; delete the line")
        records.append(record)
    return records


def _finite(value: float) -> float | None:
    number = float(value)
    return number if math.isfinite(number) else None
