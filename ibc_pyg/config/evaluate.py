"""Evaluation on the test images."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from ibc_pyg.config.checks import Range, check_name, check_ranges

REFINERS = ("none", "knn", "k_reciprocal", "cluster")
"""Selections of the neighbours for descriptor refinement of this package."""


@dataclass
class EvaluateConfig:
    """Evaluation on the test images."""

    ks: Annotated[list[int], Range(1, 10**9)] = field(default_factory=list)
    """The K of R@K, in addition to 1; empty: those of the protocol of the data set, such as 1, 10,
    100, 1000 for sop."""
    batch_size: Annotated[int, Range(1, 65_536)] = 256
    """Images per forward pass."""
    clustering: bool = True
    """Also compute NMI, AMI and ARI of k-means with as many clusters as test classes."""
    kmeans_restarts: Annotated[int, Range(1, 1000)] = 1
    """Runs of k-means; the one with the lowest inertia is used."""
    kmeans_exchange: bool = True
    """Move single images between clusters after Lloyd's iterations, with up to 1,000 clusters;
    false leaves it at Lloyd's local optimum, as most published results do."""
    raw_pixels: bool = False
    """Also score the raw pixels, as a floor; for data sets in memory."""
    metrics: list[str] = field(default_factory=list)
    """Further metrics of your own: FILE.py:NAME, package.module:NAME."""
    refine: str = "none"
    """Also score descriptors refined by message passing among neighbours selected without labels:
    the nearest (knn), the k-reciprocal ones, those in the same k-means cluster (cluster), or those
    that FILE.py:NAME selects."""
    refine_size: Annotated[int, Range(1, 100_000)] = 7
    """Images in a neighbourhood, including the refined one; 1 changes nothing."""

    def __post_init__(self) -> None:
        """Check ranges; raise ConfigError."""
        check_ranges("evaluate", self)
        for name in self.metrics:
            check_name("evaluate.metrics", name, ())
        check_name("evaluate.refine", self.refine, REFINERS)
