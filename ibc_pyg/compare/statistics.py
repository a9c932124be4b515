"""Means over seeds and paired differences, with 95 % confidence intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Estimate:
    """Mean of a sample.

    Attributes:
        mean: Arithmetic mean.
        sd: Standard deviation with n - 1; None for a single value.
        half_width: Half of the 95 % interval by Student's t with n - 1 degrees of freedom; None
            for a single value.
        count: n.
    """

    mean: float
    sd: float | None
    half_width: float | None
    count: int

    @property
    def low(self) -> float | None:
        """Lower end of the interval."""
        return None if self.half_width is None else self.mean - self.half_width

    @property
    def high(self) -> float | None:
        """Upper end of the interval."""
        return None if self.half_width is None else self.mean + self.half_width


def estimate(values: Sequence[float]) -> Estimate:
    """Return the mean of the values of the seeds.

    Raises:
        ValueError: If there are no values.
    """
    if not values:
        raise ValueError("values is empty; it needs one value or more")
    sample = np.asarray(values, dtype=np.float64)
    count = len(sample)
    if count == 1:
        return Estimate(float(sample[0]), None, None, 1)
    sd = float(sample.std(ddof=1))
    quantile = float(stats.t.ppf(0.5 + CONFIDENCE / 2, count - 1))
    return Estimate(float(sample.mean()), sd, quantile * sd / count**0.5, count)


def paired_difference(values: Sequence[float], reference: Sequence[float]) -> Estimate:
    """Return the mean of `values - reference`, seed by seed.

    Raises:
        ValueError: If the two differ in length.
    """
    if len(values) != len(reference):
        raise ValueError(f"values has {len(values)} seeds, reference has {len(reference)}")
    return estimate([value - other for value, other in zip(values, reference, strict=True)])
