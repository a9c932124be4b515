"""Exact neighbours against a full sort in extended precision."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ibc_pyg.metrics import nearest_neighbours
from tests.helpers.torch_threads import torch_threads


def sorted_pairs(q: Any, g: Any, metric: str) -> tuple[Any, Any]:
    same_set = g is None
    g = q if same_set else g
    q, g = q.astype(np.longdouble), g.astype(np.longdouble)
    zero_q, zero_g = (q == 0).all(1), (g == 0).all(1)
    if metric == "cosine":
        q = q / np.where(zero_q, 1, np.sqrt((q**2).sum(1)))[:, None]
        g = g / np.where(zero_g, 1, np.sqrt((g**2).sum(1)))[:, None]
    d = ((q[:, None] - g[None]) ** 2).sum(-1)
    if metric == "cosine":
        d += zero_q[:, None] != zero_g[None]
        d[d < 2.0**-90] = 0
    mantissa, exponent = np.frexp(d)
    key = np.ldexp(np.round(mantissa * 2**40), exponent - 40)
    if same_set:
        np.fill_diagonal(key, np.inf)
    order = np.argsort(key, axis=1, kind="stable")
    return order, np.take_along_axis(d, order, 1)


@pytest.mark.parametrize("length", [2.0, 3.0, 64.0, 2.0**60, 2.0**-70, 1e100, 1e-100])
def test_the_cosine_does_not_depend_on_lengths(length: float) -> None:
    rng = np.random.default_rng(0)
    gallery, queries = rng.normal(size=(200, 32)), rng.normal(size=(40, 32))
    near = gallery[0] + 1e-8 * rng.normal(size=(50, 32))  # close to one another
    gallery = np.concatenate([gallery, near])
    plain = nearest_neighbours(queries, gallery, k=60)
    for q, g in ((queries * length, gallery), (queries, gallery * length)):
        found = nearest_neighbours(q, g, k=60)
        assert torch.equal(found.indices, plain.indices)
        torch.testing.assert_close(found.scores, plain.scores)
    # Copies of another length tie, and the lower index comes first.
    pairs = nearest_neighbours(queries, np.concatenate([gallery, gallery * length]), k=20).indices
    copies = nearest_neighbours(queries, np.concatenate([gallery, gallery]), k=20).indices
    if np.log2(length) % 1 == 0:  # multiples by other factors are rounded
        assert torch.equal(pairs, copies)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 2**31),
    kind=st.sampled_from(["random", "signs", "duplicated", "near", "zeros", "collapsed"]),
    dim=st.sampled_from([1, 2, 8, 33]),
    dtype=st.sampled_from([np.float16, np.float32, np.float64]),
    same_set=st.booleans(),
    metric=st.sampled_from(["cosine", "euclidean"]),
    spare=st.sampled_from([1, 8]),
    memory_budget=st.sampled_from([1, 10**5, 2**30]),
    threads=st.sampled_from([1, 3]),
)
def test_equals_a_full_sort(
    seed: int,
    kind: str,
    dim: int,
    dtype: Any,
    same_set: bool,
    metric: Any,
    spare: int,
    memory_budget: int,
    threads: int,
) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(6, 120))
    x = rng.normal(size=(n, dim))
    if kind == "signs":
        x = np.sign(x)
    if kind == "duplicated":
        x = x[rng.integers(n, size=n)]
    if kind == "near":
        x = x[rng.integers(max(1, n // 10), size=n)] + 1e-7 * rng.normal(size=(n, dim))
    if kind == "zeros":
        x[rng.random(n) < 0.2] = 0
    if kind == "collapsed":
        x = x * 1e-4 + 10 * rng.normal(size=dim)
    x = x.astype(dtype)
    cut = n // 3
    q, g = (x, None) if same_set else (x[:cut], x[cut:])
    k = int(rng.integers(1, n - 1 if same_set else n - cut))
    order, squares = sorted_pairs(q, g, metric)
    with torch_threads(threads):
        found = nearest_neighbours(q, g, k, metric=metric, memory_budget=memory_budget, spare=spare)
    assert np.array_equal(found.indices.numpy(), order[:, :k])
    expected = (1 - squares / 2 if metric == "cosine" else np.sqrt(squares))[:, :k]
    # float32 products around the mean: 1e-5 of the value for distances, or of 1 for cosines.
    np.testing.assert_allclose(
        found.scores.numpy(),
        expected.astype(np.float64),
        rtol=1e-5,
        atol=1e-5 if metric == "cosine" else 1e-12,
    )


def test_more_copies_than_the_list_holds() -> None:
    x = np.ones((300, 4), dtype=np.float32)
    x[::2, 0] = 2
    found = nearest_neighbours(x, None, 20)
    expected = [[j for j in range(i % 2, 300, 2) if j != i][:20] for i in range(300)]
    assert found.indices.tolist() == expected


def test_a_thousand_neighbours() -> None:
    x = torch.randn(5000, 4, generator=torch.Generator().manual_seed(0))
    found = nearest_neighbours(x[:20], x, 1000, metric="euclidean")
    order, _ = sorted_pairs(x[:20].numpy(), x.numpy(), "euclidean")
    assert np.array_equal(found.indices.numpy(), order[:, :1000])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.eye(3), None, 3), "k is 3, but a query has 2 gallery items"),
        ((np.eye(3), np.eye(2, 3), 3), "k is 3, but a query has 2"),
        ((np.eye(3), None, 0), "k is 0"),
        ((np.eye(3) * np.nan, None, 1), "queries has NaN"),
        ((np.eye(3), np.eye(2), 1), "2 dimensions"),
        ((np.eye(3), np.ones((0, 3)), 1), "gallery is empty"),
    ],
)
def test_bad_input_is_named(arguments: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        nearest_neighbours(*arguments)
