from __future__ import annotations

import math

import numpy as np
import pytest

from ibc_pyg.report.series import BUCKETS, MOST_SERIES, bucket, panels_of


def test_short_curves_keep_every_record_in_order_of_steps():
    series = bucket("loss", np.array([3.0, 1.0, 2.0]), np.array([0.3, 0.1, 0.2]))
    np.testing.assert_array_equal(series.steps, [1, 2, 3])
    for values in (series.mean, series.low, series.high):
        np.testing.assert_allclose(values, [0.1, 0.2, 0.3])


def test_long_curves_keep_mean_and_extremes():
    rng = np.random.default_rng(0)
    steps, values = np.arange(1.0, 2401.0), rng.normal(size=2400)
    series = bucket("loss", steps, values)
    assert len(series.steps) == BUCKETS
    grouped = values.reshape(BUCKETS, 12)
    np.testing.assert_allclose(series.mean, grouped.mean(1))
    np.testing.assert_array_equal(series.low, grouped.min(1))
    np.testing.assert_array_equal(series.high, grouped.max(1))


def test_values_are_sorted_into_panels_by_name():
    record = {"step": 1, "time": 0.0, "loss": 2.0, "loss/mpn": 1.0, "train/lr": 0.1}
    metrics = {"step": 2, "R@1": 0.25, "val/MAP@R": 0.5, "images_per_second": 900.0, "epoch": 1.0}
    names = {
        panel.title: [item.name for item in panel.series]
        for panel in panels_of([record, metrics])
        if panel.series
    }
    assert names == {
        "Loss": ["loss", "loss/mpn"],
        "Metrics, %": ["R@1", "val/MAP@R"],
        "Learning rate": ["train/lr"],
        "Images per second": ["images_per_second"],
    }


def test_recorded_values_of_a_training_have_their_panels():
    record = {
        "step": 50,
        "train/loss": 2.0,
        "train/lr": 0.1,
        "train/images_per_s": 900.0,
        "train/data_wait": 0.25,
        "grad_norm/backbone": 1.0,
        "grad_norm/loss": 2.0,
        "lr/heads": 0.1,
        "lr/loss": 0.2,
        "attention/step0/entropy_head0": 3.0,
        "attention/step0/own_class": 0.1,
        "attention/step1/null_node": 0.9,
        "memory/peak_mib": 100.0,
    }
    panels = {panel.title: panel.series for panel in panels_of([record]) if panel.series}
    assert {title: [item.name for item in series] for title, series in panels.items()} == {
        "Loss": ["train/loss"],
        "Learning rate": ["lr/heads", "lr/loss"],
        "Images per second": ["train/images_per_s"],
        "Data-loading wait, % of time": ["train/data_wait"],
        "Gradient norm": ["grad_norm/backbone", "grad_norm/loss"],
        "Attention by target, %": ["attention/step0/own_class", "attention/step1/null_node"],
        "Attention entropy, nats": ["attention/step0/entropy_head0"],
    }
    assert panels["Data-loading wait, % of time"][0].mean.tolist() == [25.0]


def test_metrics_are_in_per_cent():
    (_, panel, *_) = panels_of([{"step": 5, "R@1": 0.25}])
    assert panel.series[0].mean.tolist() == [25.0]


def test_more_than_six_metrics_keep_the_headlines_in_their_order():
    names = ["R@1", "R@2", "R@4", "R@8", "R@16", "MAP@R", "RP", "NMI"]
    (_, panel, *_) = panels_of([{"step": 1, **dict.fromkeys(names, 0.5)}])
    assert [item.name for item in panel.series] == ["R@1", "R@2", "R@4", "MAP@R", "RP", "NMI"]
    assert len(panel.series) == MOST_SERIES


@pytest.mark.parametrize("value", [None, math.nan, math.inf])
def test_values_that_are_not_finite_are_left_out(value):
    (loss, *_) = panels_of([{"step": 1, "loss": value}, {"step": 2, "loss": 1.0}])
    assert loss.series[0].steps.tolist() == [2.0]
    assert panels_of([{"step": 1, "loss": value}])[0].series == []
