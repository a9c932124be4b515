"""Record of refined vectors: how they were made, and the state of the index they were made from."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ibc_pyg.errors import ConfigError, RunError, printable, program
from ibc_pyg.files import read_json, write_json
from ibc_pyg.refinement import Parameters, parameters_of
from ibc_pyg.refinement.parameters import POOLED
from ibc_pyg.retrieval.ann.record import vector_fingerprint
from ibc_pyg.retrieval.nearest import Mask
from ibc_pyg.retrieval.store.vectors import Vectors

FOLDER = "refined"
"""Folder in that of an index; it may be deleted at any time."""
REFINER = "refiner"
"""The trained refiner of the model of the index."""
STORED = ("dba", "diffusion", REFINER)
"""Methods that store something about the gallery."""
AT_SEARCH = ("aqe", *STORED)
"""Methods of a search in an index: the answer to a query does not depend on other queries."""

VECTOR_FILE, LIST_FILE, WEIGHTS_FILE = ".f32", ".lists", ".safetensors"
FORMAT = 1
_NAME = "refined.json"
_POWER = 0.0
"""Power in the record of a trained refiner, which has its own."""


@dataclass(frozen=True)
class RefinedRecord:
    """What an index stores of a refinement.

    Attributes:
        method: Name.
        k: Neighbours; see `ibc_pyg.refinement.Parameters`.
        power: Exponent of the cosine.
        rounds: Repetitions.
        share: Share of the unrefined cosine.
        rows: Rows of the index, removed ones included.
        state: Digest of the state of the index, see `state_digest`.
        sha256: Digest of each file, see `kinds_of`.
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
        power = "" if self.method == REFINER else f"power {self.power:g}, "
        return f"{self.method} (k {self.k}, {power}rounds {self.rounds}, share {self.share:g})"

    def files(self, folder: Path) -> list[Path]:
        """Return the files of an index, in the order of `kinds_of`."""
        kinds = kinds_of(self.method, self.rounds)
        return [
            file_of(folder, number, kind, digest)
            for number, (kind, digest) in enumerate(zip(kinds, self.sha256, strict=True))
        ]

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
            values = asdict(record.parameters)
            given = parameters_of("dba" if record.method == REFINER else record.method, **values)
            sound = record.method in STORED and given == record.parameters
            sound &= type(record.rows) is int and record.rows > 0 and record.format == FORMAT
            sound &= type(record.k) is type(record.rounds) is int
            sound &= isinstance(record.sha256, list)
            sound &= len(record.sha256) == len(kinds_of(record.method, record.rounds))
            sound &= all(
                isinstance(each, str) and len(each) == 64 and each.isalnum()
                for each in record.sha256
            )
        except (TypeError, ConfigError):
            sound = False
        if not sound:
            raise RunError(
                f"{printable(path)} is not a record of refined vectors; make them again: "
                f"{program()} index refine {printable(folder)}"
            )
        return record


def kinds_of(method: str, rounds: int) -> list[str]:
    """Return the suffixes of the files of a method, in the order they are made.

    The vectors of each round, unit-norm `[N, D]` and in the last round with the unrefined ones,
    `[N, D']`; for the refiner before them the lists of the round, and at last its weights; for
    diffusion the lists of what each row reaches.
    """
    if method == "diffusion":
        return [LIST_FILE]
    if method == REFINER:
        return [*[LIST_FILE, VECTOR_FILE] * rounds, WEIGHTS_FILE]
    return [VECTOR_FILE] * rounds


def file_of(folder: Path, number: int, kind: str, digest: str) -> Path:
    """Return a file of an index, `number` from 0."""
    return folder / FOLDER / f"{number + 1}-{digest[:12]}{kind}"


def refiner_parameters(k: int, rounds: int, share: float) -> Parameters:
    """Return the parameters of a trained refiner, as a record has them."""
    return Parameters(k, _POWER, rounds, share)


def check_method(method: str) -> None:
    """Check the name of a method of a search.

    Raises:
        ConfigError: If it is none, with the reason.
    """
    if method in AT_SEARCH:
        return
    why = "`evaluate --refine` scores other refinements of a run"
    if method in POOLED:
        why = (
            "it pools the queries, so that the answer to one would depend on the others; "
            "`evaluate --refine` scores it"
        )
    raise ConfigError(f"an index is searched with {', '.join(AT_SEARCH)}, not {method!r}: {why}")


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
