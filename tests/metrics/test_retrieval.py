"""Retrieval metrics against recorded values, another library and brute force."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator

from ibc_pyg.metrics import list_metrics, nearest_neighbours, retrieval_metrics
from ibc_pyg.metrics.exact import ranks
from ibc_pyg.metrics.exact.closeness import TileSizes
from tests.helpers.torch_threads import torch_threads


def squared_distances(q: Any, g: Any, metric: str) -> Any:
    """All pairs in extended precision, rounded to 40 bits like the code under test promises."""
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
    return np.ldexp(np.round(mantissa * 2**40), exponent - 40)


def brute_force(
    x: Any, y: Any, g: Any, gy: Any, ks: Any, metric: str, matches_first: bool
) -> list[float]:
    """Sort every query's gallery and read the metrics off the sorted labels."""
    same_set = g is None
    g, gy = (x, y) if same_set else (g, gy)
    d = squared_distances(x, g, metric)
    rows = []
    for i in range(len(x)):
        others = np.array([j for j in range(len(g)) if not (same_set and j == i)], dtype=int)
        hit = gy[others] == y[i]
        second = ~hit if matches_first else np.zeros(len(others))
        hit = hit[np.lexsort((others, second, d[i, others]))]
        r = int(hit.sum())
        if r == 0:
            continue
        precision = np.cumsum(hit) / np.arange(1, len(hit) + 1)
        row = [float(hit[:k].any()) for k in ks]
        rows.append([*row, float((precision * hit)[:r].sum() / r), float(hit[:r].mean())])
    return list(np.mean(rows, axis=0)) if rows else []


def values(out: dict[str, float], ks: Any) -> list[float]:
    return [out[f"R@{k}"] for k in ks] + [out["MAP@R"], out["RP"]]


def make_set(rng: np.random.Generator, kind: str, n: int, dim: int, classes: int) -> Any:
    y = rng.integers(classes, size=n)
    if kind == "unbalanced":
        y = (classes * rng.random(n) ** 3).astype(int)
    x = rng.normal(size=(classes, dim))[y] + rng.uniform(0.1, 3) * rng.normal(size=(n, dim))
    if kind == "constant":
        x[:] = rng.normal(size=dim)
    if kind == "signs":
        x = np.sign(x)
    if kind == "duplicated":
        x = x[rng.integers(n, size=n)]
    if kind == "near-duplicates":
        x = x[rng.integers(max(1, n // 10), size=n)] + 1e-7 * rng.normal(size=(n, dim))
    if kind == "zeros":
        x[rng.random(n) < 0.2] = 0
    if kind == "collapsed":
        x = x * 1e-4 + 10 * rng.normal(size=dim)
    return x, y


KINDS = (
    "constant",
    "random",
    "unbalanced",
    "signs",
    "duplicated",
    "near-duplicates",
    "zeros",
    "collapsed",
)


@settings(max_examples=250, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 2**31),
    kind=st.sampled_from(KINDS),
    dim=st.sampled_from([1, 2, 8, 33]),
    dtype=st.sampled_from([np.float16, np.float32, np.float64]),
    same_set=st.booleans(),
    matches_first=st.booleans(),
    metric=st.sampled_from(["cosine", "euclidean"]),
    tile=st.sampled_from([(3, 32, 4, 1, 10), (512, 64, 32, 4, 100), (512, 8192, 1024, 32, 2**21)]),
    memory_budget=st.sampled_from([1, 10**5, 2**30]),
    threads=st.sampled_from([1, 3]),
)
def test_equals_brute_force_whatever_the_chunks(
    seed: int,
    kind: str,
    dim: int,
    dtype: Any,
    same_set: bool,
    matches_first: bool,
    metric: Any,
    tile: tuple[int, int, int, int, int],
    memory_budget: int,
    threads: int,
) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(5, 120))
    x, y = make_set(rng, kind, n, dim, int(rng.integers(1, n)))
    x = x.astype(dtype)
    ks = tuple(int(k) for k in rng.choice([1, 2, 4, 8, 10, 50, 100, 1000], 3, replace=False))
    cut = n // 3 + 1
    q, qy, g, gy = (x, y, None, None) if same_set else (x[:cut], y[:cut], x[cut:], y[cut:])
    expected = brute_force(q, qy, g, gy, ks, metric, matches_first)
    arguments: dict[str, Any] = {
        "gallery": g,
        "gallery_labels": gy,
        "ks": ks,
        "metric": metric,
        "ties": "matches_first" if matches_first else "index",
        "memory_budget": memory_budget,
        "tiles": TileSizes(*tile),
    }
    if not expected:
        with pytest.raises(ValueError, match="nothing to score"):
            retrieval_metrics(q, qy, **arguments)
        return
    with torch_threads(threads):
        out = retrieval_metrics(q, qy, **arguments)
    # Means of the same fractions: only the order of summation may differ.
    assert values(out, ks) == pytest.approx(expected, abs=1e-12)


def test_recorded_recall_of_one_set(shared: Path) -> None:
    with np.load(shared / "conformance" / "recall_same_set.npz") as f:
        out = retrieval_metrics(f["x"], f["y"], ks=f["ks"].tolist())
        assert [out[f"R@{k}"] for k in f["ks"]] == f["recall"].tolist()


def test_recorded_recall_of_query_and_gallery(shared: Path) -> None:
    with np.load(shared / "conformance" / "recall_query_gallery.npz") as f:
        out = retrieval_metrics(
            f["query"],
            f["query_y"],
            gallery=f["gallery"],
            gallery_labels=f["gallery_y"],
            ks=f["ks"].tolist(),
        )
        assert [out[f"R@{k}"] for k in f["ks"]] == f["recall"].tolist()


@pytest.mark.parametrize("kind", ["random", "duplicated", "unbalanced"])
@pytest.mark.parametrize("same_set", [True, False])
def test_agrees_with_pytorch_metric_learning(kind: str, same_set: bool) -> None:
    rng = np.random.default_rng(0)
    x, y = make_set(rng, kind, 400, 16, 30)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    features, labels = torch.from_numpy(x).float(), torch.from_numpy(y)
    calculator = AccuracyCalculator(
        include=("precision_at_1", "r_precision", "mean_average_precision_at_r"),
        k="max_bin_count",
        device=torch.device("cpu"),
    )
    cut = 150
    if same_set:
        theirs = calculator.get_accuracy(features, labels)
        ours = retrieval_metrics(features, labels)
    else:
        q, qy, g, gy = features[:cut], labels[:cut], features[cut:], labels[cut:]
        theirs = calculator.get_accuracy(q, qy, g, gy)
        ours = retrieval_metrics(q, qy, gallery=g, gallery_labels=gy, ties="index")
    # Both average the same fractions, in float64 there and here.
    assert ours["R@1"] == pytest.approx(theirs["precision_at_1"], abs=1e-6)
    assert ours["RP"] == pytest.approx(theirs["r_precision"], abs=1e-6)
    assert ours["MAP@R"] == pytest.approx(theirs["mean_average_precision_at_r"], abs=1e-6)


def test_products_are_shared_only_where_all_pairs_fit() -> None:
    sizes = torch.tensor([1, 2, 3, 500])
    assert ranks._fits(sizes, 1536, 1, 2**27)
    assert not ranks._fits(sizes, 1536, 1, 2**24)
    assert not ranks._fits(sizes, 1536, 8, 2**27)  # tiles of every thread
    assert not ranks._fits(torch.tensor([10, 10**4]), 1536, 1, 2**40)
    assert ranks._edges([900, 900, 150, 3000, 3], 7, 1536) == [7, 907, 1957, 4957, 4960]
    assert ranks._edges([], 7, 1536) == [7]


def test_ties_by_rule() -> None:
    # The gallery's first item and the match are just as close to the query.
    q, g = np.array([[1.0, 0.0]]), np.array([[0.0, 1.0], [0.0, -1.0], [-1.0, 0.0]])
    arguments: Any = {"gallery": g, "gallery_labels": [1, 0, 0], "ks": (1, 2)}
    out = retrieval_metrics(q, [0], **arguments)
    assert (out["R@1"], out["MAP@R"]) == (1.0, 0.5)
    out = retrieval_metrics(q, [0], ties="index", **arguments)
    assert (out["R@1"], out["R@2"], out["MAP@R"]) == (0.0, 1.0, 0.25)


def test_duplicates_do_not_hide_the_query_itself() -> None:
    # Three copies of one image under two labels: the query must not find itself.
    x = np.array([[1.0, 0], [1.0, 0], [1.0, 0], [0, 1.0]])
    out = retrieval_metrics(x, [0, 1, 0, 1], ks=(1, 2))
    assert out["R@1"] == 0.25  # query 2 finds 0 first; 0 and 1 find each other, 3 finds 0
    assert out["R@2"] == 0.75  # of 0, 2 and 3; what is as close to 1 as 3 is has other labels


def test_queries_without_match_are_left_out_or_failures() -> None:
    x = np.array([[1.0, 0], [1.0, 0.1], [0, 1.0], [1, 1.0]])
    out = retrieval_metrics(x, ["a", "a", "b", "c"])
    assert (out["queries"], out["queries_without_match"]) == (4.0, 2.0)
    assert (out["R@1"], out["MAP@R"], out["RP"]) == (1.0, 1.0, 1.0)
    out = retrieval_metrics(x, ["a", "a", "b", "c"], count_unmatched=True)
    assert (out["R@1"], out["MAP@R"], out["RP"]) == (0.5, 0.5, 0.5)


def test_one_class_and_k_beyond_the_gallery() -> None:
    x = np.random.default_rng(0).normal(size=(6, 3))
    out = retrieval_metrics(x, [7] * 6, ks=(1, 1000))
    assert (out["R@1"], out["R@1000"], out["MAP@R"], out["RP"]) == (1.0, 1.0, 1.0, 1.0)


def test_inputs_are_not_changed_and_half_precision_is_taken_at_its_word() -> None:
    x = torch.randn(40, 8, generator=torch.Generator().manual_seed(0)).bfloat16()
    y = torch.arange(40) % 5
    before = x.clone()
    out = retrieval_metrics(x, y)
    assert torch.equal(x, before)
    assert out == retrieval_metrics(x.float().numpy(), y.numpy())


def test_autocast_and_reduced_precision_do_not_reach_the_metrics() -> None:
    rng = np.random.default_rng(1)
    x, y = make_set(rng, "random", 300, 64, 20)
    expected = retrieval_metrics(x.astype(np.float32), y)
    saved = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("medium")
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert retrieval_metrics(x.astype(np.float32), y) == expected
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(saved)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"embeddings": np.full((4, 2), np.nan)}, "embeddings has NaN or infinite values in 4"),
        ({"embeddings": np.full((4, 2), np.inf)}, "NaN or infinite"),
        ({"embeddings": np.ones(4)}, r"shape \(4,\)"),
        ({"embeddings": np.ones((0, 2)), "labels": []}, "empty"),
        ({"embeddings": np.ones((4, 2), dtype=complex)}, "dtype complex"),
        ({"labels": [0, 1]}, "labels has 2 entries, but embeddings has 4 rows"),
        ({"labels": [0.5, 1, 1, 1]}, "labels has dtype float64"),
        ({"labels": [0, 1, 2, 3]}, "nothing to score"),
        ({"gallery": np.ones((3, 2))}, "give both or neither"),
        ({"gallery": np.ones((0, 2)), "gallery_labels": []}, "gallery is empty"),
        ({"gallery": np.ones((3, 5)), "gallery_labels": [0, 0, 1]}, "5 dimensions"),
        ({"gallery": np.ones((3, 2)), "gallery_labels": [0]}, "gallery_labels has 1 entries"),
        ({"gallery": np.ones((3, 2)), "gallery_labels": ["a"] * 3}, "integers or strings for both"),
        ({"gallery": np.ones((3, 2)), "gallery_labels": [8, 8, 9]}, "in the gallery"),
        ({"ks": ()}, "whole numbers from 1"),
        ({"ks": (0, 1)}, "whole numbers from 1"),
        ({"ks": 5}, "ks is 5, expected whole numbers from 1"),
        ({"ks": (float("nan"),)}, "whole numbers from 1"),
        ({"labels": [1.0, 1e300, np.inf, -np.inf]}, "labels has dtype float64"),
        ({"labels": [2**63, 2**63 + 1, -1, -1]}, "integers that fit into 64 bits"),
        ({"labels": [1, "1", 2, "2"]}, "labels has dtype object"),
        ({"labels": np.array([b"a", b"\xff", b"a", b"b"])}, "not UTF-8 text"),
        ({"embeddings": np.eye(4, 2) * 1e-160, "metric": "euclidean"}, "too small"),
        ({"metric": "manhattan"}, "metric is 'manhattan'"),
        ({"ties": "random"}, "ties is 'random'"),
        ({"embeddings": np.array([[1e300, 0], [0, 1], [1, 0], [1, 1]]), "metric": "euclidean"},
         "too large"),
    ],
)  # fmt: skip
def test_bad_input_is_named(change: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {"embeddings": np.eye(4, 2) + 0.1, "labels": [0, 0, 1, 1]}
    with pytest.raises(ValueError, match=message):
        retrieval_metrics(**(arguments | change))


def test_lists_of_neighbours_give_the_same_metrics() -> None:
    rng = np.random.default_rng(3)
    for kind in ("random", "unbalanced", "duplicated"):
        x, y = make_set(rng, kind, 200, 8, 25)
        out = retrieval_metrics(x, y, ks=(1, 10))
        lists = nearest_neighbours(x, None, 199).indices
        assert list_metrics(lists, y, ks=(1, 10)) == pytest.approx(out, abs=1e-12)
    out = retrieval_metrics(x[:50], y[:50], gallery=x[50:], gallery_labels=y[50:], ties="index")
    lists = nearest_neighbours(x[:50], x[50:], 150).indices
    assert list_metrics(lists, y[:50], gallery_labels=y[50:]) == pytest.approx(out, abs=1e-12)


def test_large_labels_of_two_integer_types_are_not_merged() -> None:
    large = np.array([2**60, 2**60 + 1], dtype=np.uint64)
    out = retrieval_metrics(
        np.eye(2), large, gallery=np.eye(2), gallery_labels=large.astype(np.int64) + 1
    )
    assert out["queries_without_match"] == 1
    texts = np.array(["a", "b", "a", "b"], dtype=object)
    assert retrieval_metrics(np.eye(4), texts)["queries"] == 4


def test_lists_that_are_no_rankings_are_refused() -> None:
    with pytest.raises(ValueError, match="but 8 are needed"):
        list_metrics(torch.arange(5).expand(10, 5), [0] * 10, gallery_labels=[0] * 8)
    with pytest.raises(ValueError, match="must lie in 0 to 3"):
        list_metrics(torch.full((4, 3), 4), [0, 0, 1, 1])
    with pytest.raises(ValueError, match="among its own results"):
        list_metrics(torch.arange(3).expand(4, 3), [0, 0, 1, 1])
    with pytest.raises(ValueError, match="an item twice"):
        list_metrics(torch.ones(4, 3, dtype=torch.long), [0] * 4, gallery_labels=[0, 0, 1])
    with pytest.raises(ValueError, match="of integers"):
        list_metrics(torch.zeros(4, 3), [0, 0, 1, 1])
