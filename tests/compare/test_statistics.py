"""Means and intervals against SciPy and by hand."""

import numpy as np
import pytest
from scipy import stats

from ibc_pyg.compare.statistics import Difference, estimate, holm, paired_difference


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


@pytest.mark.parametrize("seed", range(3))
def test_the_paired_test_is_that_of_scipy(seed):
    one, other = np.random.default_rng(seed).normal(0.7, 0.02, (2, 5))
    found = paired_difference(one.tolist(), other.tolist())
    t = found.mean / (found.sd / 5**0.5)
    assert found.p == pytest.approx(2 * stats.t.sf(abs(t), 4), rel=1e-9)
    # The interval holds zero exactly if the test does not reject.
    assert (found.low < 0 < found.high) == (found.p > 0.05)


def test_without_spread_there_is_no_test():
    assert paired_difference([0.7], [0.5]).p is None
    assert paired_difference([0.7, 0.8], [0.6, 0.7]).p is None
    assert paired_difference([0.7, 0.8], [0.7, 0.8]).p is None


def test_holm_by_hand():
    def of(p):
        return Difference(0.1, 0.1, 0.1, 3, p)

    # In ascending order: 4 x 0.01; 3 x 0.03; 2 x 0.04, which is less than the one before; 0.5.
    found = holm([of(0.04), of(None), of(0.01), of(0.03), of(0.5)])
    assert found[1].p_holm is None
    corrected = [each.p_holm for each in found if each.p_holm is not None]
    assert corrected == pytest.approx([0.09, 0.04, 0.09, 0.5])
    assert [each.p for each in found] == [0.04, None, 0.01, 0.03, 0.5]
    assert all(each.p_holm == 1.0 for each in holm([of(0.6), of(0.7)]))


def test_spreads():
    found = estimate([0.69, 0.70, 0.71])
    assert found.spread("sd") == pytest.approx(0.01)
    assert found.spread("se") == pytest.approx(0.01 / 3**0.5)
    assert found.spread("ci") == found.half_width
    assert estimate([0.5]).spread("sd") is None
