"""R@k, MAP@R and R-precision."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch

from ibc_pyg.metrics.inputs import (
    Array,
    LabelArray,
    as_embeddings,
    as_labels,
    class_indices,
    unit_rows,
)


def retrieval_metrics(
    embeddings: Array,
    labels: LabelArray,
    *,
    gallery: Array | None = None,
    gallery_labels: LabelArray | None = None,
    ks: Sequence[int] = (1, 2, 4, 8),
    metric: Literal["cosine", "euclidean"] = "cosine",
    memory_budget: int = 2**30,
    device: torch.device | str | None = None,
) -> dict[str, float]:
    """R@k, MAP@R and R-precision of exact search."""
    x = as_embeddings(embeddings, "embeddings", device=device)
    y = as_labels(labels, "labels", len(x), "embeddings")
    if (gallery is None) != (gallery_labels is None):
        raise ValueError("give gallery and gallery_labels together, or neither")
    own = gallery is None
    g = x if gallery is None else as_embeddings(gallery, "gallery", device=device)
    gy = None
    if gallery_labels is not None:
        gy = as_labels(gallery_labels, "gallery_labels", len(g), "gallery")
    yq, yg = (c.to(x.device) for c in class_indices(y, gy))
    if metric == "cosine":
        x, g = unit_rows(x.double()), unit_rows(g.double())
    rows = max(1, memory_budget // (40 * len(g)))
    sums = torch.zeros(len(ks) + 2, dtype=torch.float64)
    valid = 0
    for start in range(0, len(x), rows):
        q = x[start : start + rows].double()
        s = q @ g.double().T if metric == "cosine" else -torch.cdist(q, g.double())
        if own:
            s[torch.arange(len(q)), torch.arange(start, start + len(q))] = -torch.inf
        hit = yq[start : start + rows, None] == yg[None]
        if own:
            hit[torch.arange(len(q)), torch.arange(start, start + len(q))] = False
        order = s.argsort(dim=1, descending=True, stable=True)
        hit = hit.gather(1, order)
        r = hit.sum(1)
        keep = r > 0
        hit, r = hit[keep], r[keep]
        valid += len(hit)
        position = torch.arange(1, hit.shape[1] + 1, device=x.device)
        within = hit & (position <= r[:, None])
        precision = hit.cumsum(1) / position
        for i, k in enumerate(ks):
            sums[i] += hit[:, :k].any(1).sum().cpu()
        sums[-2] += ((precision * within).sum(1) / r).sum().cpu()
        sums[-1] += (within.sum(1) / r).sum().cpu()
    if valid == 0:
        raise ValueError("no query has a match in the gallery")
    mean = (sums / valid).tolist()
    out = {f"R@{k}": mean[i] for i, k in enumerate(ks)}
    return out | {
        "MAP@R": mean[-2],
        "RP": mean[-1],
        "queries": float(len(x)),
        "queries_without_match": float(len(x) - valid),
    }
