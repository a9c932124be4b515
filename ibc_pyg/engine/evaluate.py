"""Scores of a model on queries and gallery."""

from __future__ import annotations

from typing import Any

from ibc_pyg.config import EvaluateConfig
from ibc_pyg.data.glyphs import raw_pixels
from ibc_pyg.data.splits import Probe
from ibc_pyg.data.table import ImageTable
from ibc_pyg.engine.describe import Described
from ibc_pyg.metrics import clustering_metrics, retrieval_metrics


def score(described: Described, config: EvaluateConfig, *, seed: int) -> dict[str, Any]:
    """Return all metrics that `config` asks for.

    Retrieval is over cosine similarity. Clustering is over queries and gallery together where
    they differ.

    Args:
        described: Unit-norm descriptors.
        config: Which metrics.
        seed: Of k-means.

    Returns:
        Fractions in [0, 1] under `R@K`, `MAP@R`, `RP`, `NMI`, `AMI`, `ARI`, and the counts and
        settings that belong to them.
    """
    scores: dict[str, Any] = dict(score_retrieval(described, config))
    if config.clustering and described.gallery is None:
        scores |= clustering_metrics(
            described.queries.vectors,
            described.queries.labels,
            restarts=config.kmeans_restarts,
            seed=seed,
        )
    return scores


def score_retrieval(described: Described, config: EvaluateConfig) -> dict[str, float]:
    """Return R@K, MAP@R and RP."""
    queries, gallery = described.queries, described.gallery
    return retrieval_metrics(
        queries.vectors,
        queries.labels,
        gallery=None if gallery is None else gallery.vectors,
        gallery_labels=None if gallery is None else gallery.labels,
        ks=tuple(config.ks),
    )


def score_raw_pixels(table: ImageTable, probe: Probe, config: EvaluateConfig) -> dict[str, float]:
    """Return the retrieval metrics of the pixels themselves: the floor that any model must pass."""
    queries = raw_pixels(table, probe.queries)  # [Q, H * W]
    gallery = None if probe.gallery is None else raw_pixels(table, probe.gallery)  # [G, H * W]
    return retrieval_metrics(
        queries,
        table.labels[probe.queries],
        gallery=gallery,
        gallery_labels=None if probe.gallery is None else table.labels[probe.gallery],
        ks=tuple(config.ks),
    )
