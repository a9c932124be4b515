"""Projection of descriptors to two dimensions."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

MOST_TSNE_POINTS = 1_000
START_COMPONENTS = 50
TSNE_ITERATIONS = 500
"""Half the default: from the PCA layout the map converges sooner."""


def project_2d(descriptors: npt.NDArray[np.float32], seed: int) -> npt.NDArray[np.float32]:
    """Project descriptors to a plane so that neighbours stay close.

    PCA to 50 dimensions, then t-SNE (van der Maaten and Hinton 2008,
    https://jmlr.org/papers/v9/vandermaaten08a.html) from the PCA layout. More than 1,000 points, or
    fewer than 5, get the first two principal components alone.

    Args:
        descriptors: `[M, D]` float.
        seed: Seed of every random choice; the same input and seed give the same map.

    Returns:
        `[M, 2]` float32, centred.

    Raises:
        ValueError: If `descriptors` is not a finite matrix.
    """
    if descriptors.ndim != 2 or not np.isfinite(descriptors).all():
        raise ValueError(
            f"descriptors must be a finite matrix [M, D], got {list(descriptors.shape)}"
        )
    count = len(descriptors)
    start = descriptors.astype(np.float64)  # [M, D]
    start -= start.mean(0, keepdims=True) if count else 0.0
    components = min(START_COMPONENTS, *start.shape)
    if components and np.ptp(start, axis=0).max() > 0:
        start = PCA(components, random_state=seed).fit_transform(start)  # [M, <= 50]
    else:
        start = np.zeros((count, 2))  # [M, 2]
    if start.shape[1] < 2:
        start = np.pad(start, ((0, 0), (0, 2 - start.shape[1])))  # [M, 2]
    if 5 <= count <= MOST_TSNE_POINTS and start.any():
        layout = start[:, :2] / start[:, 0].std() * 1e-4  # [M, 2], the scale t-SNE starts from
        start = TSNE(
            perplexity=min(30.0, (count - 1) / 3),
            max_iter=TSNE_ITERATIONS,
            init=layout,
            random_state=seed,
            n_jobs=1,
        ).fit_transform(start)  # [M, 2]
    plane = start[:, :2]  # [M, 2]
    centred = plane - plane.mean(0, keepdims=True) if count else plane
    return centred.astype(np.float32)
