from __future__ import annotations

import html
import json
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ibc_pyg.report import ReportData
from ibc_pyg.report.figures.curves import (
    BOTTOM,
    LABEL_HEIGHT,
    LEFT,
    RIGHT,
    TOP,
    draw_charts,
    short,
    spread,
)
from ibc_pyg.report.page import render


def points(history) -> list[np.ndarray]:
    return [
        np.array([pair.split(",") for pair in curve.line.split()], dtype=float)
        for chart in draw_charts(history).drawn
        for curve in chart.curves
    ]


def test_a_curve_is_drawn_to_scale():
    history = [{"step": step, "R@1": step / 100} for step in (0, 50, 100)]
    (line,) = points(history)
    middle = ((LEFT + RIGHT) / 2, (TOP + BOTTOM) / 2)
    np.testing.assert_allclose(line, [(LEFT, BOTTOM), middle, (RIGHT, TOP)], atol=0.06)


def test_panels_share_the_step_axis():
    history = [{"step": step, "loss": 1.0} for step in range(1, 101)] + [{"step": 50, "R@1": 0.5}]
    loss, recall = points(history)
    assert recall[0, 0] == pytest.approx((LEFT + RIGHT) / 2, abs=0.1)
    assert loss[-1, 0] == pytest.approx(RIGHT, abs=0.1)


def test_everything_stays_inside_the_drawing():
    rng = np.random.default_rng(0)
    history = [
        {"step": s, "loss": float(v), "lr": 1e-9, "total_loss": -3.0}
        for s, v in enumerate(rng.standard_cauchy(3000))
    ]
    for line in points(history):
        assert (line >= [LEFT, TOP]).all()
        assert (line <= [RIGHT, BOTTOM]).all()


@pytest.mark.parametrize("value", [0.0, 1.0, -2.0, 1e-12, 1e12])
def test_a_constant_curve_and_a_single_record_are_drawn(value):
    for steps in ([7], [1, 2, 3]):
        (line,) = points([{"step": s, "loss": value} for s in steps])
        assert np.isfinite(line).all()
        assert len(line) == len(steps)


def test_values_under_the_pointer_are_the_recorded_ones():
    history = [{"step": s, "loss/mpn": 1 / s, "loss/backbone": 2 / s} for s in (1, 2, 4)]
    (chart,) = draw_charts(history).drawn
    curves = json.loads(chart.hover)
    assert [(c["name"], c["step"], c["value"]) for c in curves] == [
        ("mpn", [1, 2, 4], [1.0, 0.5, 0.25]),
        ("backbone", [1, 2, 4], [2.0, 1.0, 0.5]),
    ]


def test_page_draws_what_was_computed():
    history = [{"step": s, "loss/mpn": s / 2, "loss/<b>": 1.0} for s in range(500)]
    (chart,) = draw_charts(history).drawn
    page = render(ReportData("t", history=history))
    assert re.findall(r'<polyline points="([^"]*)"', page) == [c.line for c in chart.curves]
    assert re.findall(r'<polygon points="([^"]*)"', page) == [chart.curves[0].band]
    assert html.unescape(re.search(r'data-curves="([^"]*)"', page)[1]) == chart.hover
    assert "&lt;b&gt;" in page
    assert "<b>" not in page


def test_missing_parts_get_a_sentence():
    assert draw_charts([]) is None
    assert draw_charts([{"step": 1, "epoch": 1.0}]) is None
    charts = draw_charts([{"step": 1, "loss": 1.0}])
    assert charts.hints == ["No evaluation was recorded during the training."]


@given(st.lists(st.floats(TOP, BOTTOM), min_size=1, max_size=6))
def test_spread_labels_do_not_overlap_and_keep_their_order(places):
    moved = spread(places, TOP, BOTTOM)
    order = np.argsort(places, kind="stable")
    gaps = np.diff(np.array(moved)[order])
    assert (gaps > LABEL_HEIGHT - 1e-6).all()
    assert min(moved) >= TOP - 1e-6
    assert max(moved) <= BOTTOM + 1e-6


def test_short_names():
    assert short("loss/mpn", ["loss/mpn", "loss"]) == "mpn"
    assert short("a/loss", ["a/loss", "b/loss"]) == "a/loss"
    losses = ["train/loss", "train/loss_auxiliary", "train/loss_nodes"]
    assert [short(name, losses) for name in losses] == ["loss", "auxiliary", "loss_nodes"]
    assert short("attention/entropy_head0", ["attention/entropy_head0"]) == "head0"
    assert short("loss_of_something_long", ["loss_of_something_long"]) == "…ething_long"
