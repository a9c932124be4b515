"""Re-ranking against a dense per-sample implementation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from ibc_pyg.metrics import k_reciprocal_rerank, list_metrics


def dense_rerank(x: Any, queries: int, same_set: bool, k1: int, k2: int, weight: float) -> Any:
    x = x.astype(np.float64)
    x = x / np.linalg.norm(x, axis=1, keepdims=True)
    n, half = len(x), int(np.around(k1 / 2))
    d = ((x[:, None] - x[None]) ** 2).sum(-1)
    d = d / d.max(1, keepdims=True)
    order = np.argsort(d, axis=1, kind="stable")
    described = np.zeros((n, n))
    for i in range(n):
        forward = order[i, : k1 + 1]
        mutual = forward[(order[forward, : k1 + 1] == i).any(1)]
        grown = list(mutual)
        for c in mutual:
            forward_c = order[c, : half + 1]
            mutual_c = forward_c[(order[forward_c, : half + 1] == c).any(1)]
            if 3 * len(np.intersect1d(mutual_c, mutual)) > 2 * len(mutual_c):
                grown += list(mutual_c)
        members = np.unique(grown)
        described[i, members] = np.exp(-d[i, members])
        described[i] /= described[i].sum()
    if k2 > 1:
        described = np.stack([described[order[i, :k2]].mean(0) for i in range(n)])
    overlap = np.stack([np.minimum(described[i], described).sum(1) for i in range(queries)])
    out = (1 - weight) * (1 - overlap / (2 - overlap)) + weight * d[:queries]
    if same_set:
        np.fill_diagonal(out, np.inf)
        return out
    return out[:, queries:]


@pytest.mark.parametrize("memory_budget", [2**30, 10**5])
@pytest.mark.parametrize(
    ("n", "queries", "k1", "k2", "weight"),
    [(150, None, 20, 6, 0.3), (120, 40, 10, 3, 0.3), (90, 30, 20, 1, 0.0), (40, None, 50, 60, 0.5)],
)
def test_equals_the_dense_implementation(
    n: int, queries: int | None, k1: int, k2: int, weight: float, memory_budget: int
) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(9, 8))[rng.integers(9, size=n)] + 0.6 * rng.normal(size=(n, 8))
    x = x.astype(np.float32)
    q, g = (x, None) if queries is None else (x[:queries], x[queries:])
    found = k_reciprocal_rerank(
        q, g, 10, k1=k1, k2=k2, original_weight=weight, memory_budget=memory_budget
    )
    expected = dense_rerank(x, queries or n, queries is None, k1, k2, weight)
    order = np.argsort(expected, axis=1, kind="stable")[:, :10]
    # Distances are float32 here and float64 there.
    np.testing.assert_allclose(
        found.scores.numpy(), np.take_along_axis(expected, order, 1), atol=1e-6
    )
    np.testing.assert_allclose(
        np.take_along_axis(expected, found.indices.numpy(), 1),
        np.take_along_axis(expected, order, 1),
        atol=1e-6,
    )


def test_ties_do_not_depend_on_the_length_of_the_list() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(8, 16))[rng.integers(0, 8, 40)]  # many copies
    whole = k_reciprocal_rerank(x, None, 39).indices
    for k in (1, 5, 20):
        assert torch.equal(k_reciprocal_rerank(x, None, k).indices, whole[:, :k])


def test_re_ranking_helps_where_classes_are_clouds() -> None:
    rng = np.random.default_rng(0)
    y = np.arange(600) % 20
    x = rng.normal(size=(20, 16))[y] + 1.2 * rng.normal(size=(600, 16))
    plain = list_metrics(k_reciprocal_rerank(x, None, 60, original_weight=1.0).indices, y)
    better = list_metrics(k_reciprocal_rerank(x, None, 60).indices, y)
    assert better["MAP@R"] > plain["MAP@R"] + 0.02


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"k": 4}, "k is 4, but a query has 3"),
        ({"k1": 0}, "at least 1, got 0 and 6"),
        ({"original_weight": 1.5}, "original_weight is 1.5"),
        ({"gallery": np.eye(3)}, "3 dimensions"),
        ({"queries": np.full((4, 2), np.inf)}, "infinite"),
    ],
)
def test_bad_input_is_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        k_reciprocal_rerank(**({"queries": np.eye(4, 2)} | change))
