"""NMI, AMI and ARI of k-means clusters."""

from __future__ import annotations

import faiss
import numpy as np
from sklearn.metrics import (
    adjusted_mutual_info_score,
    adjusted_rand_score,
    normalized_mutual_info_score,
)

from ibc_pyg.metrics.inputs import Array, LabelArray, as_embeddings, as_labels


def clustering_metrics(
    embeddings: Array,
    labels: LabelArray,
    *,
    restarts: int = 10,
    iterations: int = 20,
    seed: int = 0,
    k: int | None = None,
    ami: bool = True,
) -> dict[str, float]:
    """NMI, AMI and ARI of k-means on the embeddings as given."""
    x = as_embeddings(embeddings, "embeddings").float().cpu().numpy()
    y = as_labels(labels, "labels", len(x), "embeddings")
    k = k or len(np.unique(y))
    kmeans = faiss.Kmeans(
        x.shape[1],
        k,
        niter=iterations,
        nredo=restarts,
        seed=seed,
        min_points_per_centroid=1,
        max_points_per_centroid=len(x),
    )
    kmeans.train(x)
    assigned = kmeans.index.search(x, 1)[1][:, 0]
    out = {"NMI": float(normalized_mutual_info_score(y, assigned))}
    if ami:
        out["AMI"] = float(adjusted_mutual_info_score(y, assigned))
    out["ARI"] = float(adjusted_rand_score(y, assigned))
    return out | {
        "kmeans_restarts": float(restarts),
        "kmeans_iterations": float(iterations),
        "kmeans_seed": float(seed),
    }
