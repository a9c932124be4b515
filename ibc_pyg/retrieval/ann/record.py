"""Record of an approximate search: what it was built from and how, and its measured recall."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from ibc_pyg.errors import ConfigError, RunError
from ibc_pyg.files import read_json, write_json
from ibc_pyg.retrieval.store.catalogue import Cursor, read_meta, write_meta
from ibc_pyg.retrieval.store.vectors import Vectors

AnnKind = Literal["auto", "exact", "ivf", "hnsw"]
"""Kind of search: `auto` is exact below a measured size and inverted lists above it."""

ANN_KINDS: tuple[AnnKind, ...] = get_args(AnnKind)

EXACT_NUMBERS = 2**25
"""Most numbers (rows times length) of an exact search under `auto`: one query takes about 50 ms on
two CPU cores, see docs/performance.md."""

FORMAT = 1
_SAMPLE = 64


@dataclass(frozen=True)
class AnnSettings:
    """Wishes of the user.

    Attributes:
        kind: Kind of search.
        recall: Recall@10 that is wanted of an approximate one, in (0, 1].
    """

    kind: AnnKind = "auto"
    recall: float = 0.95

    def __post_init__(self) -> None:
        if self.kind not in ANN_KINDS:
            raise ConfigError(f"ann must be one of {', '.join(ANN_KINDS)}, not {self.kind!r}")
        wrong = isinstance(self.recall, bool) or not isinstance(self.recall, int | float)
        if wrong or not 0 < self.recall <= 1:
            raise ConfigError(f"recall must be in (0, 1], not {self.recall!r}")

    @classmethod
    def of(cls, sql: Cursor) -> AnnSettings:
        """Return the settings that a catalogue holds.

        Raises:
            RunError: If they are damaged.
        """
        text = read_meta(sql, "ann")
        if text is None:
            return cls()
        try:
            return cls(**json.loads(str(text)))
        except (ValueError, TypeError) as error:
            raise RunError(
                f"the catalogue of the index is damaged: settings of the search ({error})"
            ) from error

    def store(self, sql: Cursor) -> None:
        """Write the settings into a catalogue."""
        write_meta(sql, ann=json.dumps(asdict(self)))

    def kind_for(self, rows: int, dim: int) -> AnnKind:
        """Return the kind for an index: exact, ivf or hnsw."""
        if self.kind != "auto":
            return self.kind
        return "exact" if rows * dim <= EXACT_NUMBERS else "ivf"


@dataclass(frozen=True)
class AnnRecord:
    """Approximate search in the first rows of an index.

    Attributes:
        kind: `ivf` or `hnsw`.
        rows: Number of rows in it, removed ones included.
        dim: Length D of a vector.
        fingerprint: Of the vectors it was built from.
        size: Bytes of its file.
        sha256: Digest of its file.
        parameters: `lists` of an inverted file, or `neighbours` and `ef_construction` of a graph.
        effort: Lists that a query visits (`nprobe`), or candidates that it keeps (`efSearch`).
        recall: Measured recall@10.
        target: Wanted recall@10.
        sample: Rows that it was measured with.
        table: Each measured effort and its recall.
        seconds: Times of the parts of its building.
        faiss: Version that built it.
        format: Version of this record.
    """

    kind: str
    rows: int
    dim: int
    fingerprint: str
    size: int
    sha256: str
    parameters: dict[str, int]
    effort: int
    recall: float
    target: float
    sample: int
    table: list[list[float]]
    seconds: dict[str, float]
    faiss: str
    format: int = FORMAT

    def __str__(self) -> str:
        """Return kind, parameters and recall."""
        effort = "nprobe" if self.kind == "ivf" else "efSearch"
        names = {"lists": "lists", "neighbours": "M", "ef_construction": "efConstruction"}
        parts = [f"{names.get(key, key)} {value:,}" for key, value in self.parameters.items()]
        return (
            f"{self.kind} over {self.rows:,} vectors ({', '.join(parts)}, {effort} {self.effort}); "
            f"recall@10 {self.recall:.3f} of {self.sample:,} indexed vectors"
        )

    def write(self, path: Path) -> None:
        """Write the record atomically."""
        write_json(path, asdict(self))

    @classmethod
    def read(cls, path: Path) -> AnnRecord:
        """Read a record.

        Raises:
            RunError: If it is damaged or of another format.
        """
        values: dict[str, Any] = read_json(path)
        try:
            record = cls(**values)
            numbers = (record.rows, record.dim, record.size, record.effort)
            sound = all(type(each) is int and each > 0 for each in numbers)
            sound &= isinstance(record.sha256, str) and record.kind in ("ivf", "hnsw")
        except TypeError as error:
            raise RunError(f"{path} is not a record of an approximate search") from error
        if not sound or record.format != FORMAT:
            raise RunError(f"{path} is not a record of an approximate search")
        return record


def vector_fingerprint(vectors: Vectors) -> str:
    """Return 12 hexadecimal digits that depend on the shape of vectors and a sample of them.

    Args:
        vectors: `[N, D]` with N > 0; a vector file of one generation only grows.
    """
    digest = hashlib.sha256(repr(vectors.shape).encode())
    rows = np.unique(np.linspace(0, len(vectors) - 1, _SAMPLE).astype(np.int64))
    digest.update(np.ascontiguousarray(vectors[rows]).tobytes())
    return digest.hexdigest()[:12]
