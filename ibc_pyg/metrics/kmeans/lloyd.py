"""Lloyd's iterations of k-means, on a GPU if faiss can use one.

A faiss without code for the GPU at hand aborts the process, and too little memory raises an error
of its own: the GPU is used by a child process, whose failure costs nothing but its time.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ibc_pyg.metrics.kmeans import lloyd_child
from ibc_pyg.metrics.kmeans.lloyd_child import iterate

_logger = logging.getLogger(__name__)

CHILD = Path(lloyd_child.__file__)
TIMEOUT_S = 1800

Clusters = tuple[NDArray[np.int64], float]


def lloyd(
    x: NDArray[np.float32],
    centroids: NDArray[np.float32],
    iterations: int,
    tolerance: float,
    seed: int,
    *,
    gpu: bool = True,
) -> tuple[NDArray[np.int64], float, bool]:
    """Run Lloyd's iterations; see `lloyd_child.iterate`.

    Args:
        x: Points, `[N, D]`.
        centroids: First centroids, `[k, D]`.
        iterations: Most iterations.
        tolerance: Least improvement of ten iterations.
        seed: Seed of faiss.
        gpu: Whether to try a GPU, if faiss sees one; the CPU takes over where that fails.

    Returns:
        The cluster of every point, `[N]`, the mean squared distance to the centroids, and whether a
        GPU ran the iterations.

    Raises:
        ImportError: If faiss is not installed.
    """
    try:
        import faiss
    except ImportError as error:
        raise ImportError("k-means needs faiss: install ibc-pyg[cpu] or ibc-pyg[gpu]") from error
    if gpu and faiss.get_num_gpus() > 0:
        found = _in_child(x, centroids, iterations, tolerance, seed)
        if found is not None:
            return *found, True
    return *iterate(x, centroids, iterations, tolerance, seed, gpu=False), False


def _in_child(
    x: NDArray[np.float32],
    centroids: NDArray[np.float32],
    iterations: int,
    tolerance: float,
    seed: int,
) -> Clusters | None:
    """Run the iterations on one GPU in a child process; None if it fails."""
    with tempfile.TemporaryDirectory(prefix="ibc_pyg-kmeans-") as name:
        folder = Path(name)
        try:
            np.save(folder / "points.npy", x)
            np.save(folder / "centroids.npy", centroids)
            child = subprocess.run(
                # -P: no module of the working directory may take the place of a library.
                [sys.executable, "-P", str(CHILD), name, *map(str, (iterations, tolerance, seed))],
                capture_output=True,
                timeout=TIMEOUT_S,
                env={**os.environ, "CUDA_VISIBLE_DEVICES": one_gpu()},
                check=False,
            )
            if child.returncode:
                last = child.stderr.decode(errors="replace").strip().splitlines()[-1:]
                raise ValueError(f"exit status {child.returncode}; {''.join(last)[:200]}")
            assigned = np.load(folder / "assigned.npy", allow_pickle=False)
            inertia = float(np.load(folder / "inertia.npy", allow_pickle=False))
        except (OSError, ValueError, subprocess.TimeoutExpired) as error:
            _logger.warning("k-means runs on the CPU, since faiss failed on the GPU: %s", error)
            return None
    return assigned, inertia


def one_gpu() -> str:
    """Return the first GPU that this process may use, for CUDA_VISIBLE_DEVICES."""
    return os.environ.get("CUDA_VISIBLE_DEVICES", "0").partition(",")[0].strip() or "0"
