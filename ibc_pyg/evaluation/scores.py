"""Retrieval and clustering scores of descriptors."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from ibc_pyg.config import EvaluateConfig
from ibc_pyg.data.glyphs.table import raw_pixels
from ibc_pyg.data.splits import EvalSplit
from ibc_pyg.data.table import ImageTable
from ibc_pyg.errors import RunError, UserError
from ibc_pyg.evaluation.own_metrics import own_metrics
from ibc_pyg.inference.extract import EvalDescriptors
from ibc_pyg.metrics import (
    Protocol,
    clustering_metrics,
    k_reciprocal_rerank,
    list_metrics,
    protocol_for,
    retrieval_metrics,
)
from ibc_pyg.metrics.inputs import class_indices, inverse_norms
from ibc_pyg.refinement import neighbours

_logger = logging.getLogger(__name__)


def chosen_ks(config: EvaluateConfig, protocol: Protocol) -> tuple[int, ...]:
    """Return the K of R@K: 1 and `config.ks` if there are any, or those of the protocol."""
    return tuple(dict.fromkeys([1, *config.ks])) if config.ks else protocol.ks


def score(
    descriptors: EvalDescriptors,
    config: EvaluateConfig,
    *,
    seed: int,
    ks: Sequence[int] | None = None,
    device: torch.device | None = None,
) -> dict[str, Any]:
    """Compute all metrics that `config` selects.

    Retrieval uses cosine similarity. Clustering is omitted where queries and gallery differ.

    Args:
        descriptors: Descriptors; clustering scales them to unit norm.
        config: Selection of the metrics.
        seed: Seed of k-means.
        ks: The K of R@K; None uses `chosen_ks`.
        device: Device of the run, on which descriptors are ranked unless `config.device` is cpu;
            None: the CPU.

    Returns:
        Fractions in [0, 1] under `R@K`, `MAP@R`, `RP`, `NMI`, `AMI`, `ARI`, with their counts and
        settings, and metrics of the user under `own/NAME`.

    Raises:
        RunError: If the descriptors are not finite, or no query has a match.
        ConfigError: If a metric of the user fails.
    """
    scores: dict[str, Any] = dict(score_retrieval(descriptors, config, ks=ks, device=device))
    scores |= _own(descriptors, config)
    if config.clustering and (descriptors.gallery is None or descriptors.same):
        with as_run_error():
            scores |= clustering_metrics(
                _unit(descriptors.queries.vectors),
                descriptors.queries.labels,
                restarts=config.kmeans_restarts,
                passes=None if config.kmeans_exchange else 0,
                seed=seed,
            )
    return scores


def score_retrieval(
    descriptors: EvalDescriptors,
    config: EvaluateConfig,
    *,
    ks: Sequence[int] | None = None,
    device: torch.device | None = None,
) -> dict[str, float]:
    """Compute R@K, MAP@R and RP; see `score`."""
    queries, gallery = descriptors.queries, descriptors.gallery
    if descriptors.same and gallery is not None:
        x, pool = queries.vectors, gallery.vectors
        return score_lists(
            descriptors, config, lambda k: neighbours(x, pool, k, same=True).indices, ks=ks
        )

    def ranked(where: torch.device | None) -> dict[str, float]:
        return retrieval_metrics(
            queries.vectors,
            queries.labels,
            gallery=None if gallery is None else gallery.vectors,
            gallery_labels=None if gallery is None else gallery.labels,
            ks=chosen_ks(config, descriptors.protocol) if ks is None else ks,
            device=where,
        )

    with as_run_error():
        try:
            return ranked(None if config.device == "cpu" else device)
        except torch.OutOfMemoryError:
            _logger.warning("the GPU has too little free memory to rank descriptors; the CPU does")
        return ranked(torch.device("cpu"))


def score_reranked(
    descriptors: EvalDescriptors, config: EvaluateConfig, *, ks: Sequence[int] | None = None
) -> dict[str, float]:
    """Compute R@K, MAP@R and RP of k-reciprocal re-ranking, with the settings of its paper.

    Raises:
        RunError: If the descriptors are not finite, or no query has a match.
    """
    queries, gallery = descriptors.queries, descriptors.gallery
    pool = None if gallery is None else gallery.vectors
    return score_lists(
        descriptors, config, lambda k: k_reciprocal_rerank(queries.vectors, pool, k).indices, ks=ks
    )


def score_lists(
    descriptors: EvalDescriptors,
    config: EvaluateConfig,
    find: Callable[[int], Tensor],
    *,
    ks: Sequence[int] | None = None,
) -> dict[str, float]:
    """Compute R@K, MAP@R and RP of ranked lists.

    Args:
        descriptors: Descriptors, for their classes.
        config: Selection of the K.
        find: Returns the k best items of each query, int64 `[Q, k]`.
        ks: The K of R@K; None uses `chosen_ks`.

    Raises:
        RunError: If the descriptors are not finite, or no query has a match.
    """
    wanted = tuple(chosen_ks(config, descriptors.protocol) if ks is None else ks)
    gallery = None if descriptors.same else descriptors.gallery
    with as_run_error():
        labels = descriptors.candidates.labels
        available = len(labels) - (gallery is None)
        # MAP@R needs lists with all matches.
        largest = int(class_indices(labels.numpy(), None)[0].bincount().max())
        return list_metrics(
            find(min(available, max(*wanted, largest))),
            descriptors.queries.labels,
            gallery_labels=None if gallery is None else gallery.labels,
            ks=wanted,
        )


def score_raw_pixels(
    table: ImageTable, probe: EvalSplit, config: EvaluateConfig
) -> dict[str, float]:
    """Compute the retrieval metrics of the raw pixels, the floor for any model."""
    queries = raw_pixels(table, probe.queries)  # [Q, H * W]
    gallery = None if probe.gallery is None else raw_pixels(table, probe.gallery)  # [G, H * W]
    with as_run_error():
        return retrieval_metrics(
            queries,
            table.labels[probe.queries],
            gallery=gallery,
            gallery_labels=None if probe.gallery is None else table.labels[probe.gallery],
            ks=chosen_ks(config, protocol_for(table.name)),
        )


def _own(descriptors: EvalDescriptors, config: EvaluateConfig) -> dict[str, float]:
    queries = descriptors.queries
    gallery = None if descriptors.same else descriptors.gallery
    more = () if gallery is None else (_unit(gallery.vectors), gallery.labels)
    return own_metrics(config.metrics, _unit(queries.vectors), queries.labels, *more)


def _unit(vectors: Tensor) -> Tensor:
    norms = vectors.norm(dim=1)  # [N]
    # Normalising again would change the last bits.
    if bool(((norms - 1).abs() < 1e-3).all()):
        return vectors
    return vectors * inverse_norms(vectors)  # [N, D]


@contextmanager
def as_run_error() -> Iterator[None]:
    """Raise errors of the metrics about their input as RunError."""
    try:
        yield
    except UserError:
        raise
    except (ValueError, ImportError) as error:
        raise RunError(f"the descriptors cannot be scored: {error}") from error
