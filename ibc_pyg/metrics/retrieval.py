"""R@K, MAP@R and R-precision of exact search."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from ibc_pyg.graph.products import plain_float32
from ibc_pyg.metrics.exact.closeness import Ranking, TileSizes
from ibc_pyg.metrics.exact.ranks import Classes, MatchRanks, match_ranks
from ibc_pyg.metrics.exact.similarity import Metric, make_similarity
from ibc_pyg.metrics.inputs import (
    Array,
    LabelArray,
    as_embeddings,
    as_ks,
    as_labels,
    class_indices,
)
from ibc_pyg.threads import map_in_threads

Ties = Literal["index", "matches_first"]


def retrieval_metrics(
    embeddings: Array,
    labels: LabelArray,
    *,
    gallery: Array | None = None,
    gallery_labels: LabelArray | None = None,
    ks: Sequence[int] = (1, 2, 4, 8),
    metric: Metric = "cosine",
    ties: Ties | None = None,
    count_unmatched: bool = False,
    memory_budget: int = 2**30,
    device: torch.device | str | None = None,
    tiles: TileSizes | None = None,
) -> dict[str, float]:
    """Score exact search by R@K, MAP@R and R-precision.

    Without a gallery every embedding is a query against all others. It is excluded from its own
    gallery by index, wherever it would rank, so that its duplicates count like any other item.

    The same rules hold for every metric:

    - *Order*: by exact arithmetic on the given numbers (see `Similarity`), whatever the memory
      budget, threads or device.
    - *Ties*: "index" puts the lower gallery index first. "matches_first" puts matches before
      equally close items, so that a match ranks behind strictly closer items only, the rule of the
      In-Shop protocol. The default is "index" without a gallery and "matches_first" with one, as
      in the published protocols.
    - *A query without a match* in the gallery (a class with one image) is left out of every mean
      and counted in `queries_without_match`; with `count_unmatched` it scores 0 in every mean.
    - *A zero vector* has cosine 0 with all others.
    - R@K with K larger than the gallery is the share of queries that have a match.

    MAP@R and R-precision follow Musgrave et al., "A Metric Learning Reality Check", ECCV 2020,
    section 3.1, https://arxiv.org/abs/2003.08505.

    Args:
        embeddings: `[Q, D]`, numpy or torch, any float dtype, not necessarily normalised.
        labels: `[Q]`, integers or strings.
        gallery: `[N, D]`, for protocols with separate sets.
        gallery_labels: `[N]`.
        ks: The K of R@K, each at least 1.
        metric: "cosine" or "euclidean" (the same order on normalised embeddings).
        ties: "index", "matches_first" or None for the rule of the protocol.
        count_unmatched: Whether queries without a match count as failures.
        memory_budget: Bytes that may be used beyond the inputs and their float32 copies.
        device: Device of the computation; None means that of the embeddings.
        tiles: Sizes of the tiles of the matrix of all pairs; None means the defaults.

    Returns:
        "R@K" for every K, "MAP@R" and "RP" in [0, 1]; "queries" and "queries_without_match".

    Raises:
        ValueError: If values are NaN or infinite, shapes or lengths do not fit, a set is empty, a
            K is below 1, the metric or the tie rule is unknown, or no query has a match.
    """
    x = as_embeddings(embeddings, "embeddings", device=device)
    y = as_labels(labels, "labels", len(x), "embeddings")
    if (gallery is None) != (gallery_labels is None):
        raise ValueError("gallery and gallery_labels go together: give both or neither")
    g, gy = None, None
    if gallery is not None and gallery_labels is not None:
        g = as_embeddings(gallery, "gallery", device=x.device)
        gy = as_labels(gallery_labels, "gallery_labels", len(g), "gallery")
    ks = as_ks(ks)
    if ties not in (None, "index", "matches_first"):
        raise ValueError(f"ties is {ties!r}, expected 'index', 'matches_first' or None")
    query_classes, gallery_classes = (c.to(x.device) for c in class_indices(y, gy))
    with plain_float32():
        ranks = match_ranks(
            make_similarity(x, g, metric),
            Classes(query_classes, gallery_classes, same_set=g is None),
            Ranking(
                k=max(ks),
                matches_first=ties == "matches_first" or (ties is None and g is not None),
                sizes=tiles or TileSizes(),
            ),
            memory_budget,
        )
        parts = list(map_in_threads(lambda part: _score(part.cpu(), ks), ranks, x.device))
    if not parts:
        where = "among the other embeddings" if g is None else "in the gallery"
        raise ValueError(f"no query has an item of its class {where}: nothing to score")
    scores = torch.cat(parts, 1)  # [K + 2, n]
    scored = scores.shape[1]
    # Sorted before the sum, so that the mean does not depend on the order of the queries.
    sums = scores.sort(dim=1).values.sum(1)  # [K + 2]
    means = (sums / (len(x) if count_unmatched else scored)).tolist()
    out = {f"R@{k}": mean for k, mean in zip(ks, means, strict=False)}
    out["MAP@R"], out["RP"] = means[-2:]
    out["queries"] = float(len(x))
    out["queries_without_match"] = float(len(x) - scored)
    return out


def _score(ranks: MatchRanks, ks: Sequence[int]) -> Tensor:
    """Return R@K for every K, MAP@R and R-precision of n queries, float64 `[K + 2, n]`."""
    ahead, matches = ranks.ahead, ranks.matches[:, None]
    nth = torch.arange(1, ahead.shape[1] + 1, device=ahead.device)  # [R]
    rank = ahead + nth  # [n, R]
    within = (rank <= matches) & (nth <= matches)  # [n, R]
    rows = [(ahead[:, 0] < k).double() for k in ks]
    rows.append((within * (nth / rank.double())).sum(1) / ranks.matches)
    rows.append(within.sum(1) / ranks.matches.double())
    return torch.stack(rows)  # [K + 2, n]
