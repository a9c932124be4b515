"""Means over seeds, paired differences with 95 % intervals, and their tests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
from scipy import stats

CONFIDENCE = 0.95

Spread = Literal["ci", "sd", "se"]
SPREADS: tuple[str, ...] = get_args(Spread)
"""Half of the 95 % interval of the mean, standard deviation, standard error of the mean."""

_CONSTANT = 1e-9
"""Largest standard deviation, relative to the mean, that is rounding alone."""


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

    def spread(self, kind: Spread) -> float | None:
        """Return the half of the interval, the standard deviation or the standard error."""
        if kind == "ci" or self.sd is None:
            return self.half_width
        return self.sd if kind == "sd" else self.sd / float(self.count**0.5)


@dataclass(frozen=True)
class Difference(Estimate):
    """Mean of paired differences.

    Attributes:
        p: Two-sided p-value of the paired t-test against no difference; None for a single pair and
            for equal differences, whose test is undefined.
        p_holm: The same, corrected by Holm's method for all differences of the metric in a table;
            None outside a table.
    """

    p: float | None = None
    p_holm: float | None = None


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


def paired_difference(values: Sequence[float], reference: Sequence[float]) -> Difference:
    """Return the mean of `values - reference`, seed by seed, and its test.

    Raises:
        ValueError: If the two differ in length.
    """
    if len(values) != len(reference):
        raise ValueError(f"values has {len(values)} seeds, reference has {len(reference)}")
    found = estimate([value - other for value, other in zip(values, reference, strict=True)])
    p = None
    if found.sd is not None and found.sd > _CONSTANT * abs(found.mean):
        p = float(stats.ttest_rel(values, reference).pvalue)
    return Difference(found.mean, found.sd, found.half_width, found.count, p)


def holm(differences: Sequence[Difference]) -> list[Difference]:
    """Return the differences with their p-values corrected by Holm's method, in the same order."""
    tested = sorted((each.p, index) for index, each in enumerate(differences) if each.p is not None)
    corrected, largest = list(differences), 0.0
    for rank, (p, index) in enumerate(tested):
        largest = max(largest, min(1.0, (len(tested) - rank) * p))
        corrected[index] = replace(differences[index], p_holm=largest)
    return corrected
