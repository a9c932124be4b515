"""From filters to rows, and from rows to hits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ibc_pyg.errors import ConfigError
from ibc_pyg.retrieval.hits import Hit
from ibc_pyg.retrieval.nearest import Mask, NearestRows
from ibc_pyg.retrieval.store.catalogue import (
    Cursor,
    damaged,
    digest_of_row,
    names_of_row,
    rows_with_label,
    unused_rows,
)
from ibc_pyg.retrieval.store.roots import places

Where = Mapping[str, str | Sequence[str | None] | None]
"""Filter of a search: `{"label": "apple"}`, or several classes; None stands for no class."""


def wanted_labels(where: Where | None) -> tuple[str | None, ...] | None:
    """Return the classes that a filter lets pass; None for all pictures.

    Raises:
        ConfigError: If it filters by anything else.
    """
    if where is None:
        return None
    labels: Any = where.get("label")
    if set(where) != {"label"}:
        raise ConfigError(f"where: pictures are filtered by label, not by {', '.join(where)!r}")
    several = isinstance(labels, Iterable) and not isinstance(labels, str)
    chosen = tuple(labels) if several else (labels,)
    if not all(label is None or isinstance(label, str) for label in chosen):
        raise ConfigError(f"where: a label is text or None, not {labels!r}")
    return chosen


def allowed_rows(sql: Cursor, rows: int, labels: Sequence[str | None] | None) -> Mask | None:
    """Return which rows a search may find, bool `[rows]`; None if all."""
    if labels is None:
        unused = unused_rows(sql)
        if not unused:
            return None
        mask = np.ones(rows, dtype=np.bool_)
        mask[unused] = False
        return mask
    mask = np.zeros(rows, dtype=np.bool_)
    for label in labels:
        mask[rows_with_label(sql, label)] = True
    return mask


def hits_of(
    sql: Cursor,
    found: NearestRows,
    digests: Sequence[bytes | None],
    labels: Sequence[str | None] | None,
    min_similarity: float | None,
) -> list[list[Hit]]:
    """Return the hits of each query.

    A content with several files is one hit: the first file, of those that pass the filter if there
    is one, and the others as its copies.

    Args:
        sql: Cursor of the catalogue.
        found: Rows and similarities of each query.
        digests: Hash of the file of each query, or None.
        labels: Classes that the search was limited to, or None.
        min_similarity: Less similar pictures are left out.
    """
    place = places(sql)
    lists = []
    for rows, scores, digest in zip(found.rows, found.similarities, digests, strict=True):
        hits: list[Hit] = []
        for row, score in zip(rows.tolist(), scores.tolist(), strict=True):
            if min_similarity is not None and score < min_similarity:
                break
            files = names_of_row(sql, row)
            if labels is not None:
                files.sort(key=lambda name: name.label not in labels)
            if not files:
                raise damaged(f"row {row} has no name")
            there = (place(name.root, name.path) for name in files)
            paths = list(dict.fromkeys(there))  # a file may be in two sources
            same = digest is not None and digest == digest_of_row(sql, row)
            hits.append(
                Hit(len(hits) + 1, score, paths[0], files[0].label, row, same, tuple(paths[1:]))
            )
        lists.append(hits)
    return lists
