"""Draws against the distributions that W&B documents."""

import math

import numpy as np
import pytest
from scipy import stats

from ibc_pyg.errors import ConfigError
from ibc_pyg.sweep.space import make_parameter

N = 2000


def draws(described):
    parameter = make_parameter("x.y", described)
    return [parameter.draw(3, trial) for trial in range(N)]


CONTINUOUS = [
    ({"min": 0.5, "max": 2.0}, stats.uniform(0.5, 1.5)),
    ({"distribution": "uniform", "min": 1, "max": 3}, stats.uniform(1, 2)),
    ({"distribution": "log_uniform_values", "min": 1e-4, "max": 1e-1},
     stats.loguniform(1e-4, 1e-1)),
    ({"distribution": "log_uniform", "min": -9, "max": -2},
     stats.loguniform(math.exp(-9), math.exp(-2))),
    ({"distribution": "normal"}, stats.norm()),
    ({"distribution": "normal", "mu": 2, "sigma": 0.5}, stats.norm(2, 0.5)),
    ({"distribution": "log_normal", "mu": 1, "sigma": 0.5}, stats.lognorm(0.5, scale=math.e)),
]  # fmt: skip


@pytest.mark.parametrize(("described", "expected"), CONTINUOUS)
def test_continuous_distributions(described, expected):
    # Fixed draws: the test is as repeatable as they are.
    assert stats.kstest(draws(described), expected.cdf).pvalue > 0.01


def test_whole_numbers_include_both_ends():
    found = draws({"min": 2, "max": 5})
    assert set(found) == {2, 3, 4, 5}
    assert all(type(value) is int for value in found)
    assert stats.chisquare(np.bincount(found)[2:]).pvalue > 0.01


def test_values_keep_their_type_and_shares():
    assert draws({"value": [1, 2]})[:2] == [[1, 2], [1, 2]]
    assert set(draws({"values": ["a", True, None]})) == {"a", True, None}
    found = draws({"values": [1, 2, 3], "probabilities": [0.7, 0.3, 0]})
    assert stats.binomtest(found.count(1), N, 0.7).pvalue > 0.01
    assert 3 not in found


@pytest.mark.parametrize(
    ("described", "step", "kind"),
    [
        ({"distribution": "q_uniform", "min": 0, "max": 1, "q": 0.1}, 0.1, float),
        ({"distribution": "q_uniform", "min": 0, "max": 64, "q": 8}, 8, int),
        ({"distribution": "q_log_uniform_values", "min": 1, "max": 1000, "q": 5}, 5, int),
        ({"distribution": "q_log_uniform", "min": 0, "max": 5, "q": 2}, 2, int),
        ({"distribution": "q_normal", "q": 0.5}, 0.5, float),
        ({"distribution": "q_log_normal", "q": 0.25}, 0.25, float),
    ],
)
def test_quantized(described, step, kind):
    found = draws(described)
    assert len(set(found)) > 2
    for value in set(found):
        assert type(value) is kind
        assert value / step == pytest.approx(round(value / step), abs=1e-9)
        # As a person would write it.
        assert len(str(value)) <= 5


def test_a_trial_has_the_same_value_whatever_else_is_searched():
    lr = make_parameter("train.lr", {"min": 0.0, "max": 1.0})
    other = make_parameter("train.weight_decay", {"min": 0.0, "max": 1.0})
    assert lr.draw(0, 5) == lr.draw(0, 5)
    values = [lr.draw(0, 5), lr.draw(0, 6), lr.draw(1, 5), other.draw(0, 5)]
    assert len(set(values)) == 4


def test_a_grid_needs_values():
    assert make_parameter("a", {"min": 1, "max": 3}).choices() == range(1, 4)
    assert make_parameter("a", {"value": 7}).choices() == [7]
    with pytest.raises(ConfigError, match=r"parameters\.a: a grid needs values"):
        make_parameter("a", {"min": 1.0, "max": 3.0}).choices()


@pytest.mark.parametrize(
    ("described", "message"),
    [
        (3, "must hold value"),
        ({}, "needs max and min"),
        ({"min": 1}, "needs max"),
        ({"min": 2, "max": 1}, "above max"),
        ({"min": "1e-4", "max": 1}, r"min must be a number, not '1e-4'; write 1.0e-3"),
        ({"min": 0, "max": float("inf")}, "finite"),
        ({"distribution": "log_uniform_values", "min": 0, "max": 1}, "must be > 0"),
        ({"distribution": "gamma", "min": 0, "max": 1}, "no distribution 'gamma'"),
        ({"distribution": "q_int_uniform", "min": 0, "max": 1}, "no distribution"),
        ({"distribution": "int_uniform", "min": 0.5, "max": 1}, "whole numbers"),
        ({"distribution": "q_uniform", "min": 0, "max": 1, "q": 0}, "q must be a number from"),
        ({"values": []}, "one value or more"),
        ({"values": None}, "one value or more"),
        ({"distribution": "normal", "sigma": -1}, "sigma must be >= 0"),
        ({"distribution": "beta", "a": 2, "b": 5}, "no distribution 'beta'"),
        ({"distribution": "log_uniform", "min": 1, "max": 1000}, "log_uniform_values"),
        ({"distribution": "uniform", "min": -1e308, "max": 1e308}, "at most 1e\\+15"),
        ({"distribution": "q_uniform", "min": 0, "max": 1, "q": True}, "q must be a number from"),
        (
            {"distribution": "q_uniform", "min": 0, "max": 1, "q": float("inf")},
            "q must be a number from",
        ),
        ({"values": [1, 2], "probabilities": [0.5]}, "one share for each value"),
        ({"values": [1, 2], "probabilities": [0.5, 0.6]}, "sum 1"),
        ({"value": 1, "vlaues": [2]}, "has no vlaues"),
        ({"parameters": {"lr": {"value": 1}}}, r"write nested fields with points, as a\.field"),
    ],
)
def test_mistakes_name_the_parameter(described, message):
    with pytest.raises(ConfigError, match=message):
        make_parameter("a", described)
