"""Scores of descriptors on queries and gallery."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor

from ibc_pyg.config import EvaluateConfig
from ibc_pyg.data.glyphs.table import raw_pixels
from ibc_pyg.data.splits import EvalSplit
from ibc_pyg.data.table import ImageTable
from ibc_pyg.errors import RunError, UserError
from ibc_pyg.inference.extract import EvalDescriptors
from ibc_pyg.inference.refine import refine
from ibc_pyg.metrics import (
    Protocol,
    clustering_metrics,
    k_reciprocal_rerank,
    list_metrics,
    protocol_for,
    retrieval_metrics,
)
from ibc_pyg.metrics.inputs import class_indices, inverse_norms
from ibc_pyg.nn.model import IntraBatchModel


def chosen_ks(config: EvaluateConfig, protocol: Protocol) -> tuple[int, ...]:
    """Return the K of R@K: 1 and those of the configuration, or those of the protocol."""
    return tuple(dict.fromkeys([1, *config.ks])) if config.ks else protocol.ks


def score(
    described: EvalDescriptors,
    config: EvaluateConfig,
    *,
    seed: int,
    ks: Sequence[int] | None = None,
) -> dict[str, Any]:
    """Return all metrics that `config` asks for.

    Retrieval is over cosine similarity. Clustering is left out where queries and gallery differ.

    Args:
        described: Descriptors; those that are not of unit norm are clustered as if they were.
        config: Which metrics.
        seed: Of k-means.
        ks: The K of R@K; None takes `chosen_ks`.

    Returns:
        Fractions in [0, 1] under `R@K`, `MAP@R`, `RP`, `NMI`, `AMI`, `ARI`, and the counts and
        settings that belong to them.

    Raises:
        RunError: If they cannot be scored: not finite, or no query has a match.
    """
    scores: dict[str, Any] = dict(score_retrieval(described, config, ks=ks))
    if config.clustering and described.gallery is None:
        with _one_line():
            scores |= clustering_metrics(
                _unit(described.queries.vectors),
                described.queries.labels,
                restarts=config.kmeans_restarts,
                seed=seed,
            )
    return scores


def score_retrieval(
    described: EvalDescriptors, config: EvaluateConfig, *, ks: Sequence[int] | None = None
) -> dict[str, float]:
    """Return R@K, MAP@R and RP; see `score`."""
    queries, gallery = described.queries, described.gallery
    with _one_line():
        return retrieval_metrics(
            queries.vectors,
            queries.labels,
            gallery=None if gallery is None else gallery.vectors,
            gallery_labels=None if gallery is None else gallery.labels,
            ks=chosen_ks(config, described.protocol) if ks is None else ks,
        )


def refine_and_score(
    model: IntraBatchModel, described: EvalDescriptors, config: EvaluateConfig, *, seed: int
) -> dict[str, Any]:
    """Refine descriptors as `config` says and score them; see `refine` and `score_refined`."""
    refined = refine(model, described, config.refine, config.refine_size, seed=seed)
    return score_refined(refined, config, seed=seed)


def score_refined(
    refined: EvalDescriptors, config: EvaluateConfig, *, seed: int, ks: Sequence[int] | None = None
) -> dict[str, Any]:
    """Return `score` of refined descriptors, with the settings of the refinement."""
    settings = {"refine": config.refine, "refine_size": config.refine_size}
    return settings | score(refined, config, seed=seed, ks=ks)


def score_reranked(
    described: EvalDescriptors, config: EvaluateConfig, *, ks: Sequence[int] | None = None
) -> dict[str, float]:
    """Return R@K, MAP@R and RP of k-reciprocal re-ranking with its paper's settings.

    Raises:
        RunError: If they cannot be scored.
    """
    queries, gallery = described.queries, described.gallery
    wanted = tuple(chosen_ks(config, described.protocol) if ks is None else ks)
    with _one_line():
        searched = described.candidates
        available = len(searched.labels) - (gallery is None)
        classes = class_indices(searched.labels.numpy(), None)[0]
        # The lists must hold every match for MAP@R.
        needed = min(available, max(*wanted, int(classes.bincount().max())))
        found = k_reciprocal_rerank(
            queries.vectors, None if gallery is None else gallery.vectors, needed
        )
        return list_metrics(
            found.indices,
            queries.labels,
            gallery_labels=None if gallery is None else gallery.labels,
            ks=wanted,
        )


def score_raw_pixels(
    table: ImageTable, probe: EvalSplit, config: EvaluateConfig
) -> dict[str, float]:
    """Return the retrieval metrics of the pixels themselves: the floor that any model must pass."""
    queries = raw_pixels(table, probe.queries)  # [Q, H * W]
    gallery = None if probe.gallery is None else raw_pixels(table, probe.gallery)  # [G, H * W]
    with _one_line():
        return retrieval_metrics(
            queries,
            table.labels[probe.queries],
            gallery=gallery,
            gallery_labels=None if probe.gallery is None else table.labels[probe.gallery],
            ks=chosen_ks(config, protocol_for(table.name)),
        )


def _unit(vectors: Tensor) -> Tensor:
    norms = vectors.norm(dim=1)  # [N]
    # What is normalised already is clustered as it is.
    if bool(((norms - 1).abs() < 1e-3).all()):
        return vectors
    return vectors * inverse_norms(vectors)  # [N, D]


@contextmanager
def _one_line() -> Iterator[None]:
    """Turn what the metrics say of their input into an error for people."""
    try:
        yield
    except UserError:
        raise
    except (ValueError, ImportError) as error:
        raise RunError(f"nothing can be scored: {error}") from error
