"""Ensembles of runs: concatenation of their descriptors, as in the paper."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import fmean
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from ibc_pyg.builders.data import Data
from ibc_pyg.data.splits import EvalSplit
from ibc_pyg.data.table import ImageTable, Rows
from ibc_pyg.errors import RunError
from ibc_pyg.inference.extract import Descriptors, EvalDescriptors
from ibc_pyg.metrics.names import is_metric


def concatenate(members: Sequence[EvalDescriptors]) -> EvalDescriptors:
    """Concatenate the unit-norm descriptors of the same images, and normalise.

    The cosine of two results is the mean of the cosines of the members.

    Args:
        members: Descriptors of one or more runs, of the same images (see `check_same_images`).
    """
    first = members[0]
    queries = _concatenate([member.queries for member in members])
    galleries = [member.gallery for member in members if member.gallery is not None]
    return replace(first, queries=queries, gallery=_concatenate(galleries) if galleries else None)


def _concatenate(parts: Sequence[Descriptors]) -> Descriptors:
    vectors = torch.cat([part.vectors for part in parts], dim=1)  # [N, D_1 + ... + D_n]
    return replace(parts[0], vectors=F.normalize(vectors, dim=-1))


def check_same_images(names: Sequence[str], data: Sequence[Data]) -> None:
    """Check that runs are tested on the same images.

    Args:
        names: Names of the runs.
        data: Their images.

    Raises:
        RunError: Naming the first run that differs from `names[0]`, and the difference.
    """
    for name, other in zip(names[1:], data[1:], strict=True):
        difference = _difference(data[0], other)
        if difference:
            raise RunError(
                f"{name} and {names[0]} are not tested on the same images: {difference}; "
                "an ensemble needs runs of one data set and split"
            )


def _difference(first: Data, other: Data) -> str:
    a, b = first.table, other.table
    if a.name != b.name:
        return f"{b.name} against {a.name}"
    tests = (first.splits.tested(), other.splits.tested())
    if (tests[0].gallery is None) != (tests[1].gallery is None):
        return "one has a gallery of its own, the other does not"
    return _part_differs("query", a, tests[0].queries, b, tests[1].queries) or _part_differs(
        "gallery", a, _candidates(tests[0]), b, _candidates(tests[1])
    )


def _part_differs(part: str, a: ImageTable, x: Rows, b: ImageTable, y: Rows) -> str:
    if len(x) != len(y):
        return f"{len(y)} {part} images against {len(x)}"
    for i, j in zip(x.tolist(), y.tolist(), strict=True):
        if a.paths[i] != b.paths[j]:
            return f"{part} image {b.paths[j]} against {a.paths[i]}"
        if a.class_names[a.labels[i]] != b.class_names[b.labels[j]]:
            return f"{part} image {a.paths[i]} has another class"
    if (a.images is None) != (b.images is None):
        return "one data set is in memory, the other in files"
    if a.images is None or b.images is None or np.array_equal(a.images[x], b.images[y]):
        return ""
    return f"the pixels of the {part} images differ"


def _candidates(probe: EvalSplit) -> Rows:
    return probe.queries if probe.gallery is None else probe.gallery


def mean_scores(scores: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Return the mean of every metric that all runs have."""
    return {
        name: fmean(each[name] for each in scores)
        for name in scores[0]
        if is_metric(name) and all(name in each for each in scores)
    }
