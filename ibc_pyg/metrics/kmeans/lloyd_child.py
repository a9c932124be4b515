"""Lloyd's iterations in faiss; also a program that runs them on a GPU, in a process of its own.

    python -P lloyd_child.py FOLDER ITERATIONS TOLERANCE SEED

reads `points.npy` and `centroids.npy` in FOLDER and writes `assigned.npy` and `inertia.npy`. It
imports nothing of this package, to start quickly.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_BLOCK = 10


def iterate(
    x: NDArray[np.float32],
    centroids: NDArray[np.float32],
    iterations: int,
    tolerance: float,
    seed: int,
    *,
    gpu: bool,
) -> tuple[NDArray[np.int64], float]:
    """Run Lloyd's iterations in this process.

    Args:
        x: Points, `[N, D]`.
        centroids: First centroids, `[k, D]`.
        iterations: Most iterations.
        tolerance: Iterations stop when ten of them lower the inertia by less than this part.
        seed: Seed of faiss, for clusters that become empty.
        gpu: Whether every GPU that faiss sees takes part.

    Returns:
        The cluster of every point, `[N]`, and the mean squared distance to the centroids.
    """
    import faiss

    k, dim = centroids.shape
    before = float("inf")
    clustering: Any = None
    for done in range(0, iterations, _BLOCK):
        clustering = faiss.Kmeans(
            dim,
            k,
            niter=min(_BLOCK, iterations - done),
            seed=seed % 2**31,
            # Use all points, and do not warn of few points per cluster.
            min_points_per_centroid=1,
            max_points_per_centroid=len(x),
            gpu=gpu,
        )
        clustering.train(x, init_centroids=centroids)
        centroids, inertia = clustering.centroids, float(clustering.obj[-1])
        if inertia >= before * (1 - tolerance):
            break
        before = inertia
    distance, assigned = clustering.assign(x)
    return np.asarray(assigned, dtype=np.int64), float(np.mean(distance, dtype=np.float64))


def _main(folder: Path, iterations: str, tolerance: str, seed: str) -> None:
    points, centroids = (
        np.load(folder / name, allow_pickle=False) for name in ("points.npy", "centroids.npy")
    )
    assigned, inertia = iterate(
        points, centroids, int(iterations), float(tolerance), int(seed), gpu=True
    )
    np.save(folder / "inertia.npy", np.array(inertia))
    np.save(folder / "assigned.npy", assigned)


if __name__ == "__main__":
    _main(Path(sys.argv[1]), *sys.argv[2:])
