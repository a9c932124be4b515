"""NMI, AMI and ARI of k-means clusters."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from ibc_pyg.metrics.adjusted import adjusted_mutual_information
from ibc_pyg.metrics.inputs import Array, LabelArray, as_embeddings, as_labels
from ibc_pyg.metrics.kmeans.exchange import exchange, mean_square
from ibc_pyg.metrics.kmeans.lloyd import lloyd
from ibc_pyg.metrics.kmeans.seeding import seed_centroids
from ibc_pyg.threads import call_in_one_thread

_SWAPS = 100
_PASSES = 50
_SEARCH_UP_TO = 1000
"""Most clusters for which local search and passes of single points are worth their time."""
_LLOYD_BEFORE_PASSES = 10
_ONE_THREAD_UP_TO = 2**23


def clustering_metrics(
    embeddings: Array,
    labels: LabelArray,
    *,
    restarts: int = 1,
    iterations: int = 100,
    swaps: int | None = None,
    passes: int | None = None,
    seed: int = 0,
    k: int | None = None,
    ami: bool = True,
) -> dict[str, float]:
    """Score k-means clusters against the classes by NMI, AMI and ARI.

    Each restart draws centroids by k-means++, improves them by `swaps` rounds of local search (see
    `seed_centroids`), runs Lloyd's iterations in faiss and then moves single points (see
    `exchange`); the restart of least inertia counts. Local search and moves of points replace
    restarts: one with them reaches a lower inertia than ten without. Without passes Lloyd's
    iterations run until they converge.
    The embeddings are not normalised: normalise them first for spherical clusters.

    Args:
        embeddings: `[N, D]`, numpy or torch.
        labels: `[N]`, integers or strings.
        restarts: Restarts of k-means, each from draws of its own.
        iterations: Most Lloyd iterations per restart; with passes at most ten of them are made.
        swaps: Rounds of local search per restart; None means 100, or 0 with more than 1,000
            clusters, for which that many would make no difference.
        passes: Most passes that move single points after Lloyd's iterations; None means 50, or 0
            with more than 1,000 clusters, for which they take too long.
        seed: Seed of all draws.
        k: Number of clusters; None means the number of classes.
        ami: Whether to compute AMI.

    Returns:
        "NMI" (arithmetic mean of the entropies) in [0, 1], "AMI" and "ARI" (at most 1, about 0 for
        chance), and the settings: "kmeans_clusters", "kmeans_plus_plus" (always 1: the
        initialisation), "kmeans_swaps", "kmeans_passes", "kmeans_restarts", "kmeans_iterations",
        "kmeans_seed", "kmeans_inertia" (mean squared distance to the centroid), and
        "kmeans_on_gpu", 1 if a GPU ran the iterations. With one class and one cluster all three
        scores are 1.

    Raises:
        ValueError: If values are NaN or infinite, lengths differ, a set is empty, or k, restarts,
            iterations, swaps or passes are out of range.
    """
    x = as_embeddings(embeddings, "embeddings", device="cpu")
    y = as_labels(labels, "labels", len(x), "embeddings")
    clusters = len(np.unique(y)) if k is None else k
    for name, value in (("k", clusters), ("restarts", restarts), ("iterations", iterations)):
        if value % 1 != 0:
            raise ValueError(f"{name} is {value}, expected a whole number")
    largest = float(x.abs().max())
    if not (largest == 0 or 2.0**-400 < largest < (2.0**400 if x.dtype == torch.float64 else 1e37)):
        raise ValueError("embeddings are too large or too small to cluster")
    if not 1 <= clusters <= len(x):
        raise ValueError(f"k is {clusters}, expected 1 to {len(x)}, the number of embeddings")
    if swaps is None:
        swaps = default_swaps(clusters)
    if passes is None:
        passes = default_passes(clusters)
    for name, value, least in (
        ("restarts", restarts, 1),
        ("iterations", iterations, 1),
        ("swaps", swaps, 0),
        ("passes", passes, 0),
    ):
        if value < least:
            raise ValueError(f"{name} is {value}, expected at least {least}")
    settings = KMeansSettings(restarts, iterations, swaps=swaps, passes=passes, seed=seed)
    assigned, inertia, on_gpu = kmeans(x, clusters, settings)
    # A search among vectors imports this package, and has no use for scikit-learn's 70 MiB.
    from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

    # Rounding can raise the score of a perfect clustering a few ulps above 1.
    out = {"NMI": min(1.0, float(normalized_mutual_info_score(y, assigned)))}
    if ami:
        out["AMI"] = min(1.0, adjusted_mutual_information(y, assigned))
    out["ARI"] = float(adjusted_rand_score(y, assigned))
    return out | {
        "kmeans_clusters": float(clusters),
        "kmeans_plus_plus": 1.0,
        "kmeans_swaps": float(swaps),
        "kmeans_passes": float(passes),
        "kmeans_restarts": float(restarts),
        "kmeans_iterations": float(settings.lloyd_iterations),
        "kmeans_seed": float(seed),
        "kmeans_inertia": inertia,
        "kmeans_on_gpu": float(on_gpu),
    }


def default_swaps(clusters: int) -> int:
    """Return the rounds of local search of `clustering_metrics` by default."""
    return _SWAPS if clusters <= _SEARCH_UP_TO else 0


def default_passes(clusters: int) -> int:
    """Return the passes that move single points of `clustering_metrics` by default."""
    return _PASSES if clusters <= _SEARCH_UP_TO else 0


@dataclass(frozen=True)
class KMeansSettings:
    """Settings of k-means.

    Attributes:
        restarts: Restarts, of which the one of least inertia counts.
        iterations: Most Lloyd iterations per restart.
        tolerance: Iterations stop when ten of them lower the inertia by less than this part.
        swaps: Rounds of local search on the first centroids.
        passes: Most passes that move single points; if any, at most ten iterations are made.
        seed: Seed of all draws.
    """

    restarts: int = 1
    iterations: int = 100
    tolerance: float = 1e-5
    swaps: int = 0
    passes: int = 0
    seed: int = 0

    @property
    def lloyd_iterations(self) -> int:
        """Most Lloyd iterations that are made."""
        return min(self.iterations, _LLOYD_BEFORE_PASSES) if self.passes else self.iterations


def kmeans(
    x: torch.Tensor, k: int, settings: KMeansSettings
) -> tuple[NDArray[np.int64], float, bool]:
    """Cluster points by k-means.

    Args:
        x: Float32 or float64 `[N, D]`, on the CPU.
        k: Number of clusters, at most N.
        settings: Settings of k-means.

    Returns:
        The cluster of every point, `[N]`, the mean squared distance to the centroids, and whether a
        GPU ran the iterations.
    """
    generator = torch.Generator().manual_seed(settings.seed)
    # Centred and scaled: k-means does not depend on origin and unit, float32 rounding does.
    x = x - x.mean(0, dtype=torch.float64).to(x.dtype)
    scale = float(x.abs().max()) or 1.0
    points = (x / scale).float().contiguous()  # [N, D]
    array = points.numpy()
    best: tuple[NDArray[np.int64], float, bool] | None = None
    on_gpu = True
    small = points.numel() <= _ONE_THREAD_UP_TO
    for _ in range(settings.restarts):
        seeds = partial(seed_centroids, points, k, settings.swaps, generator)
        first = call_in_one_thread(seeds) if small else seeds()  # [k]
        assigned, inertia, on_gpu = lloyd(
            array,
            array[first.numpy()],
            settings.lloyd_iterations,
            settings.tolerance,
            settings.seed,
            gpu=on_gpu,
        )
        if settings.passes:
            start = torch.from_numpy(assigned)  # [N]
            moves = partial(exchange, points, start, k, settings.passes, generator)
            moved = call_in_one_thread(moves) if small else moves()  # [N]
            assigned, inertia = moved.numpy(), mean_square(points, moved, k)
        if best is None or inertia < best[1]:
            best = assigned, inertia, on_gpu
    assert best is not None
    return best[0], best[1] * scale**2, best[2]
