"""Clustering metrics against scikit-learn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans
from sklearn.metrics import (
    adjusted_mutual_info_score,
    adjusted_rand_score,
    normalized_mutual_info_score,
)
from sklearn.metrics.cluster import contingency_matrix, expected_mutual_information

from ibc_pyg.metrics import adjusted, clustering_metrics
from ibc_pyg.metrics.clustering import KMeansSettings, kmeans
from ibc_pyg.metrics.kmeans.exchange import exchange, mean_square
from ibc_pyg.metrics.kmeans.seeding import seed_centroids


def clouds(n: int, dim: int, classes: int, noise: float, seed: int = 0) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    y = np.arange(n) % classes
    x = rng.normal(size=(classes, dim))[y] + noise * rng.normal(size=(n, dim))
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32), y


def test_scores_are_those_of_the_clusters() -> None:
    x, y = clouds(400, 16, 20, 1.0)
    out = clustering_metrics(x, y, seed=3)
    clusters, inertia, _ = kmeans(
        torch.from_numpy(x), 20, KMeansSettings(swaps=100, passes=50, seed=3)
    )
    assert out["NMI"] == pytest.approx(normalized_mutual_info_score(y, clusters), abs=1e-12)
    assert out["AMI"] == pytest.approx(adjusted_mutual_info_score(y, clusters), abs=1e-9)
    assert out["ARI"] == pytest.approx(adjusted_rand_score(y, clusters), abs=1e-12)
    assert out["kmeans_inertia"] == inertia
    means = np.stack([x[clusters == c].mean(0) for c in range(20)])
    assert inertia == pytest.approx(((x - means[clusters]) ** 2).sum(1).mean(), rel=1e-5)


@pytest.mark.parametrize("noise", [0.6, 1.0, 1.5])
def test_inertia_and_nmi_rival_ten_restarts_of_scikit_learn(noise: float) -> None:
    x, y = clouds(1500, 32, 40, noise)
    theirs = [KMeans(40, n_init=10, random_state=s).fit(x) for s in range(3)]
    nmi = np.array([normalized_mutual_info_score(y, t.labels_) for t in theirs])
    inertia = np.mean([t.inertia_ for t in theirs]) / len(x)
    ours = [clustering_metrics(x, y, seed=s, ami=False) for s in range(5)]
    assert np.mean([o["kmeans_inertia"] for o in ours]) <= inertia * 1.01
    assert np.mean([o["NMI"] for o in ours]) >= nmi.mean() - max(0.01, 3 * nmi.std())


def test_moves_of_single_points_go_on_where_lloyd_ends() -> None:
    x, y = clouds(1500, 256, 25, 4.0)
    alone, moved = (clustering_metrics(x, y, passes=passes) for passes in (0, None))
    assert moved["kmeans_inertia"] < alone["kmeans_inertia"] * 0.99
    assert moved["NMI"] > alone["NMI"] + 0.1
    assert (alone["kmeans_passes"], moved["kmeans_passes"]) == (0.0, 50.0)


@pytest.mark.parametrize(("n", "k"), [(60, 7), (40, 20), (25, 25), (30, 1)])
def test_no_single_move_is_left(n: int, k: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against the cost of every clustering that differs in one point."""
    monkeypatch.setattr("ibc_pyg.metrics.kmeans.exchange._FEW", 0)
    x = torch.randn(n, 5, generator=torch.Generator().manual_seed(n))
    start = torch.arange(n) % k
    end = exchange(x, start, k, 1000, torch.Generator().manual_seed(0))
    cost = mean_square(x, end, k)
    means = torch.stack([x[end == c].mean(0) for c in range(k)])
    assert cost == pytest.approx(float((x - means[end]).square().sum(1).mean()), abs=1e-6)
    assert cost <= mean_square(x, start, k)
    for point in range(n):
        for cluster in range(k):
            other = end.clone()
            other[point] = cluster
            assert mean_square(x, other, k) >= cost - 1e-5 or (end == end[point]).sum() == 1
    assert len(end.unique()) == k


def test_copies_of_a_point_are_not_moved_forever() -> None:
    x = torch.ones(50, 3)
    end = exchange(x, torch.arange(50) % 4, 4, 10**9, torch.Generator().manual_seed(0))
    assert len(end.unique()) == 4


def test_far_from_the_origin_nothing_changes() -> None:
    x, y = clouds(300, 8, 10, 0.3)
    near = clustering_metrics(x, y)
    far = clustering_metrics(x.astype(np.float64) * 1e-3 + 7.0, y)
    assert far["NMI"] == pytest.approx(near["NMI"], abs=0.05)


def test_a_seed_determines_everything() -> None:
    x, y = clouds(300, 8, 10, 1.5)
    torch.manual_seed(1)
    first = clustering_metrics(x, y, restarts=2, seed=5)
    torch.manual_seed(2)
    assert clustering_metrics(x, y, restarts=2, seed=5) == first
    assert {clustering_metrics(x, y, seed=s)["NMI"] for s in range(5)} != {first["NMI"]}
    assert (first["kmeans_restarts"], first["kmeans_seed"]) == (2.0, 5.0)


def test_edges() -> None:
    x = np.random.default_rng(0).normal(size=(30, 4))
    one = clustering_metrics(x, np.zeros(30, dtype=int))
    assert (one["NMI"], one["AMI"], one["ARI"]) == (1.0, 1.0, 1.0)
    alone = clustering_metrics(x, np.arange(30))
    assert (alone["NMI"], alone["AMI"], alone["ARI"]) == (1.0, 1.0, 1.0)
    same = clustering_metrics(np.ones((30, 4)), np.arange(30) % 3)
    assert same["NMI"] == pytest.approx(0.0, abs=1e-9)
    assert "AMI" not in clustering_metrics(x, np.arange(30) % 3, ami=False)


def test_a_few_points_per_cluster_are_no_reason_to_warn(capfd: pytest.CaptureFixture[str]) -> None:
    x, y = clouds(200, 8, 50, 0.5)
    clustering_metrics(x, y)
    captured = capfd.readouterr()
    assert captured.out + captured.err == ""


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"embeddings": np.full((4, 2), np.nan)}, "NaN"),
        ({"labels": [0, 1]}, "labels has 2 entries"),
        ({"k": 5}, "k is 5, expected 1 to 4"),
        ({"k": 0}, "k is 0"),
        ({"restarts": 0}, "restarts is 0"),
        ({"iterations": 0}, "iterations is 0"),
        ({"swaps": -1}, "swaps is -1"),
        ({"passes": -1}, "passes is -1"),
        ({"k": 2.5}, "k is 2.5, expected a whole number"),
        ({"embeddings": np.eye(4, 2) * 1e300}, "too large or too small"),
        ({"embeddings": np.eye(4, 2, dtype=np.float32) * 3e38}, "too large or too small"),
    ],
)
def test_bad_input_is_named(change: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {"embeddings": np.eye(4, 2), "labels": [0, 0, 1, 1]}
    with pytest.raises(ValueError, match=message):
        clustering_metrics(**(arguments | change))


@pytest.mark.parametrize(("n", "a", "b"), [(200, 10, 12), (50, 50, 7), (30, 1, 5), (500, 3, 90)])
def test_adjusted_mutual_information_equals_scikit_learn(n: int, a: int, b: int) -> None:
    rng = np.random.default_rng(0)
    for _ in range(5):
        y = rng.integers(a, size=n) if a < n else np.arange(n)
        z = rng.integers(b, size=n)
        ours = adjusted.adjusted_mutual_information(y, z)
        assert ours == pytest.approx(adjusted_mutual_info_score(y, z), abs=1e-9)
        table = contingency_matrix(y, z, sparse=True).astype(np.int64)
        expected = adjusted.expected_mutual_information(
            np.asarray(table.sum(1)).ravel(), np.asarray(table.sum(0)).ravel()
        )
        assert expected == pytest.approx(expected_mutual_information(table, n), abs=1e-10)


def test_seeds_are_drawn_by_squared_distance() -> None:
    # Distances 1, 2 and 3 from the first centroid: the second is drawn with 1, 4 and 9 to 14.
    x = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 2.0], [-3.0, 0.0]])
    counts = np.zeros(4)
    generator = torch.Generator().manual_seed(0)
    total = 0
    for _ in range(4000):
        first, second = seed_centroids(x, 2, 0, generator).tolist()
        if first == 0:
            counts[second] += 1
            total += 1
    # Four standard deviations of a share among about 1,000 draws.
    np.testing.assert_allclose(counts / total, [0, 1 / 14, 4 / 14, 9 / 14], atol=0.065)


def test_swaps_lower_the_cost_and_keep_centroids_apart() -> None:
    x = torch.from_numpy(clouds(600, 16, 30, 0.5)[0])

    def cost(chosen: torch.Tensor) -> float:
        assert len(set(chosen.tolist())) == 30
        return float(torch.cdist(x, x[chosen]).square().amin(1).sum())

    plain = [cost(seed_centroids(x, 30, 0, torch.Generator().manual_seed(s))) for s in range(5)]
    swapped = [cost(seed_centroids(x, 30, 60, torch.Generator().manual_seed(s))) for s in range(5)]
    assert max(swapped) < min(plain)
