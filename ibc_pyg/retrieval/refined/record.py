"""Record of refined vectors: how they were made, and the state of the index they were made from."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ibc_pyg.errors import ConfigError, RunError, printable
from ibc_pyg.files import read_json, write_json
from ibc_pyg.refinement import Parameters, parameters_of
from ibc_pyg.retrieval.ann.record import vector_fingerprint
from ibc_pyg.retrieval.nearest import Mask
from ibc_pyg.retrieval.store.vectors import Vectors

FOLDER = "refined"
"""Folder in that of an index; it may be deleted at any time."""
STORED = ("dba",)
"""Methods that store refined vectors of the gallery."""
AT_SEARCH = ("aqe", *STORED)
"""Methods of a search in an index: the answer to a query does not depend on other queries."""

FORMAT = 1
_NAME = "refined.json"


@dataclass(frozen=True)
class RefinedRecord:
    """Refined vectors of an index.

    Attributes:
        method: Name.
        k: Neighbours; see `ibc_pyg.refinement.Parameters`.
        power: Exponent of the cosine.
        rounds: Repetitions.
        share: Share of the unrefined cosine.
        rows: Rows of the index, removed ones included.
        state: Digest of the state of the index, see `state_digest`.
        sha256: Digest of the file of each round; the last one holds the searched vectors.
        format: Version of this record.
    """

    method: str
    k: int
    power: float
    rounds: int
    share: float
    rows: int
    state: str
    sha256: list[str]
    format: int = FORMAT

    @property
    def parameters(self) -> Parameters:
        """The parameters of the method."""
        return Parameters(self.k, self.power, self.rounds, self.share)

    def __str__(self) -> str:
        """Return method and parameters."""
        return (
            f"{self.method} (k {self.k}, power {self.power:g}, rounds {self.rounds}, "
            f"share {self.share:g})"
        )

    def file(self, folder: Path, number: int) -> Path:
        """Return the file of a round of an index, from 0."""
        return folder / FOLDER / f"{number + 1}-{self.sha256[number][:12]}.f32"

    def write(self, folder: Path) -> None:
        """Write the record into an index, atomically."""
        write_json(folder / FOLDER / _NAME, asdict(self))

    @classmethod
    def read(cls, folder: Path) -> RefinedRecord | None:
        """Read the record of an index; None if there is none.

        Raises:
            RunError: If it is damaged or of another format.
        """
        path = folder / FOLDER / _NAME
        if not path.exists():
            return None
        values: dict[str, Any] = read_json(path)
        try:
            record = cls(**values)
            given = parameters_of(record.method, **asdict(record.parameters))
            sound = record.method in STORED and given == record.parameters
            sound &= type(record.rows) is int and record.rows > 0 and record.format == FORMAT
            sound &= type(record.k) is type(record.rounds) is int
            sound &= isinstance(record.sha256, list) and len(record.sha256) == record.rounds
            sound &= all(
                isinstance(each, str) and len(each) == 64 and each.isalnum()
                for each in record.sha256
            )
        except (TypeError, ConfigError):
            sound = False
        if not sound:
            raise RunError(
                f"{printable(path)} is not a record of refined vectors; make them again: index "
                f"refine {printable(folder)}"
            )
        return record


def state_digest(vectors: Vectors, allowed: Mask | None, model: str) -> str:
    """Return 16 hexadecimal digits that change with the vectors that a search may find.

    Args:
        vectors: All committed vectors, `[N, D]`, N > 0.
        allowed: Which rows have a picture, bool `[N]`; None for all.
        model: Fingerprint of the model.
    """
    digest = hashlib.sha256(f"{model} {vector_fingerprint(vectors)} ".encode())
    if allowed is not None:
        digest.update(np.packbits(allowed).tobytes())
    return digest.hexdigest()[:16]
