"""Means and intervals against SciPy and by hand."""

import numpy as np
import pytest
from scipy import stats

from ibc_pyg.compare.statistics import estimate, paired_difference


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("count", [2, 3, 10])
def test_interval_is_that_of_scipy(seed, count):
    values = np.random.default_rng(seed).normal(0.7, 0.02, count)
    ours = estimate(values.tolist())
    low, high = stats.t.interval(0.95, count - 1, loc=values.mean(), scale=stats.sem(values))
    assert (ours.low, ours.high) == pytest.approx((low, high), rel=1e-12)
    assert ours.sd == pytest.approx(values.std(ddof=1), rel=1e-12)


def test_three_seeds_by_hand():
    # sd = 0.01, t(0.975, 2) = 4.302653
    ours = estimate([0.69, 0.70, 0.71])
    assert ours.mean == pytest.approx(0.70)
    assert ours.half_width == pytest.approx(4.302653 * 0.01 / 3**0.5, rel=1e-6)


def test_one_seed_has_no_interval():
    ours = estimate([0.5])
    assert (ours.mean, ours.sd, ours.low, ours.high) == (0.5, None, None, None)


def test_pairing_takes_out_what_the_seeds_share():
    shared = [0.1, 0.5, 0.9]
    difference = paired_difference([value + 0.02 for value in shared], shared)
    assert difference.mean == pytest.approx(0.02)
    assert difference.half_width == pytest.approx(0, abs=1e-12)


def test_bad_input():
    with pytest.raises(ValueError, match="empty"):
        estimate([])
    with pytest.raises(ValueError, match="3 seeds"):
        paired_difference([1, 2, 3], [1, 2])
