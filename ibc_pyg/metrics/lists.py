"""R@K, MAP@R and R-precision of given ranked lists."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ibc_pyg.metrics.inputs import LabelArray, as_ks, as_labels, class_indices


def list_metrics(
    indices: Tensor,
    labels: LabelArray,
    *,
    gallery_labels: LabelArray | None = None,
    ks: Sequence[int] = (1, 2, 4, 8),
    count_unmatched: bool = False,
) -> dict[str, float]:
    """Score ranked lists, such as those of re-ranking, by R@K, MAP@R and R-precision.

    The rules and the output are those of `retrieval_metrics`, except that the lists decide ties.

    Args:
        indices: Int64 `[Q, L]`, gallery rows of every query, best first, without the query itself
            if the queries are the gallery.
        labels: `[Q]`, integers or strings.
        gallery_labels: `[N]`, or None if the queries are the gallery.
        ks: The K of R@K, each at least 1.
        count_unmatched: Whether queries without a match count as failures.

    Raises:
        ValueError: If lists are shorter than the largest K or than a query's number of matches, an
            index is out of range, listed twice or that of the query itself, or labels do not fit.
    """
    indices = torch.as_tensor(indices).cpu()
    if indices.ndim != 2 or len(indices) == 0 or indices.is_floating_point():
        raise ValueError(
            f"indices has shape {tuple(indices.shape)} and dtype {indices.dtype}, expected "
            "[Q, L] of integers"
        )
    indices = indices.long()
    y = as_labels(labels, "labels", len(indices), "indices")
    gy = None
    if gallery_labels is not None:
        gy = as_labels(gallery_labels, "gallery_labels", len(gallery_labels), "gallery_labels")
    query_classes, gallery_classes = class_indices(y, gy)
    ks = as_ks(ks)
    available = len(gallery_classes) - (gy is None)
    if bool((indices < 0).any()) or bool((indices >= len(gallery_classes)).any()):
        raise ValueError(f"indices must lie in 0 to {len(gallery_classes) - 1}")
    if gy is None and bool((indices == torch.arange(len(indices))[:, None]).any()):
        raise ValueError("indices list a query among its own results")
    ascending = indices.sort(dim=1).values
    if bool((ascending[:, 1:] == ascending[:, :-1]).any()):
        raise ValueError("indices list an item twice for one query")
    sizes = torch.bincount(gallery_classes, minlength=int(query_classes.max()) + 1)  # [C]
    matches = sizes[query_classes] - int(gy is None)  # [Q]
    needed = min(available, max(*ks, int(matches.max())))
    if indices.shape[1] < needed:
        raise ValueError(
            f"indices list {indices.shape[1]} items per query, but {needed} are needed for "
            f"ks {tuple(ks)} and classes of up to {int(matches.max())} matches"
        )
    scored = matches > 0
    if not bool(scored.any()):
        raise ValueError("no query has an item of its class in the gallery: nothing to score")
    hit = gallery_classes[indices[scored]] == query_classes[scored, None]  # [S, L]
    r = matches[scored, None]  # [S, 1]
    rank = torch.arange(1, hit.shape[1] + 1)  # [L]
    within = hit & (rank <= r)  # [S, L]
    precision = hit.cumsum(1).double() / rank  # [S, L]
    scores = [hit[:, :k].any(1).double() for k in ks]
    scores.append((precision * within).sum(1) / r[:, 0])
    scores.append(within.sum(1) / r[:, 0].double())
    count = len(y) if count_unmatched else int(scored.sum())
    means = [float(np.sort(s.numpy()).sum()) / count for s in scores]
    out = {f"R@{k}": mean for k, mean in zip(ks, means, strict=False)}
    out["MAP@R"], out["RP"] = means[-2:]
    out["queries"] = float(len(y))
    out["queries_without_match"] = float(len(y) - int(scored.sum()))
    return out
