"""How the test images are scored."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from ibc_pyg.config.checks import check

RefineMethod = Literal["none", "knn", "k_reciprocal", "cluster"]
"""How the neighbourhoods of descriptor refinement are found."""


@dataclass
class EvaluateConfig:
    """How the test images are scored."""

    ks: list[int] = field(default_factory=list)
    """The K of R@K, besides 1; none: those of the data set's protocol, for sop 1, 10, 100, 1000."""
    batch_size: int = 256
    """Images a forward pass."""
    clustering: bool = True
    """Also k-means with as many clusters as test classes: NMI, AMI, ARI."""
    kmeans_restarts: int = 1
    """Runs of k-means; the one with the least inertia counts."""
    raw_pixels: bool = False
    """Also score the pixels themselves, the floor; for data sets that are held in memory."""
    refine: RefineMethod = "none"
    """Also score descriptors that message passing refines, each among neighbours found without
    labels: its nearest (knn), its k-reciprocal ones, or its k-means cluster."""
    refine_size: int = 7
    """Images in such a neighbourhood, itself included; 1 changes nothing."""

    def __post_init__(self) -> None:
        """Check ranges; raise ConfigError."""
        check(
            "evaluate.ks", all(1 <= k <= 10**9 for k in self.ks), "numbers from 1 to 10^9", self.ks
        )
        check("evaluate.batch_size", self.batch_size >= 1, ">= 1", self.batch_size)
        check("evaluate.kmeans_restarts", self.kmeans_restarts >= 1, ">= 1", self.kmeans_restarts)
        check("evaluate.refine_size", self.refine_size >= 1, ">= 1", self.refine_size)
