"""Evaluation on the test images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

from ibc_pyg.config.checks import Range, check_name, check_ranges

MPN_REFINERS: Mapping[str, str] = {
    "mpn": "knn",
    "mpn_k_reciprocal": "k_reciprocal",
    "mpn_cluster": "cluster",
}
"""Refinement by the trained message passing network, and how it selects neighbours."""
UNTRAINED_REFINERS = ("aqe", "dba", "gcr", "diffusion", "gnn", "k_reciprocal")
"""Refinement without trained weights."""
TRAINED_REFINER = "refiner"
"""Refinement by the refiner that the command `refine` trained for a run."""
REFINERS = ("none", *MPN_REFINERS, *UNTRAINED_REFINERS, TRAINED_REFINER)
"""Refinements of this package."""
_EARLIER = {"knn": "mpn", "cluster": "mpn_cluster"}
"""Names of version 0.1.0."""


@dataclass
class EvaluateConfig:
    """Evaluation on the test images."""

    ks: Annotated[list[int], Range(1, 10**9)] = field(default_factory=list)
    """The K of R@K, in addition to 1; empty: those of the protocol of the data set, such as 1, 10,
    100, 1000 for sop."""
    batch_size: Annotated[int, Range(1, 65_536)] = 256
    """Images per forward pass."""
    device: Literal["auto", "cpu"] = "auto"
    """Where descriptors are ranked, with the same result. auto: the device of the run."""
    clustering: bool = True
    """Also compute NMI, AMI and ARI of k-means with as many clusters as test classes."""
    kmeans_restarts: Annotated[int, Range(1, 1000)] = 1
    """Runs of k-means; the one with the lowest inertia is used."""
    kmeans_exchange: bool = True
    """Move single images between clusters after Lloyd's iterations, with up to 1,000 clusters;
    false leaves it at Lloyd's local optimum, as most published results do."""
    raw_pixels: bool = False
    """Also score the raw pixels, as a baseline; for data sets in memory."""
    metrics: list[str] = field(default_factory=list)
    """Further metrics of your own: FILE.py:NAME, package.module:NAME."""
    refine: str = "none"
    """Also score descriptors refined without labels: by message passing among the nearest (mpn),
    the k-reciprocal neighbours (mpn_k_reciprocal) or those in the same k-means cluster
    (mpn_cluster); without trained weights by aqe, dba, gcr, diffusion, gnn or k_reciprocal; by
    the refiner of the run (refiner); or by FILE.py:NAME."""
    refine_size: Annotated[int, Range(1, 100_000)] = 7
    """Images in a neighbourhood of message passing, with the refined one; 1 changes nothing."""
    refine_k: Annotated[int | None, Range(0, 100_000)] = None
    """Neighbours for a refinement without trained weights; none: the default of the method."""
    refine_power: Annotated[float | None, Range(0, 1000)] = None
    """Exponent of the cosine as weight of a neighbour; none: the default of the method."""
    refine_rounds: Annotated[int | None, Range(1, 1000)] = None
    """Repetitions of the refinement; none: the default of the method."""
    refine_share: Annotated[float | None, Range(0, 1)] = None
    """Share of the unrefined cosine in the refined one; none: the default of the method."""

    def __post_init__(self) -> None:
        """Check ranges; raise ConfigError."""
        self.refine = _EARLIER.get(self.refine, self.refine)
        check_ranges("evaluate", self)
        for name in self.metrics:
            check_name("evaluate.metrics", name, ())
        check_name("evaluate.refine", self.refine, REFINERS)
