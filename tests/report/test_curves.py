from __future__ import annotations

import json
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ibc_pyg.report.curves import (
    BOTTOM,
    HEIGHT,
    LABEL_HEIGHT,
    LEFT,
    RIGHT,
    TOP,
    WIDTH,
    curves_section,
    short,
    spread,
)
from ibc_pyg.report.markup import Missing


def points(page: str) -> list[np.ndarray]:
    return [
        np.array([pair.split(",") for pair in found.split()], dtype=float)
        for found in re.findall(r'<polyline points="([^"]*)"', page)
    ]


def test_a_curve_is_drawn_to_scale():
    history = [{"step": step, "R@1": step / 100} for step in (0, 50, 100)]
    (line,) = points(curves_section(history))
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    middle = ((LEFT + right) / 2, (TOP + bottom) / 2)
    np.testing.assert_allclose(line, [(LEFT, bottom), middle, (right, TOP)], atol=0.06)


def test_panels_share_the_step_axis():
    history = [{"step": step, "loss": 1.0} for step in range(1, 101)] + [{"step": 50, "R@1": 0.5}]
    loss, recall = points(curves_section(history))
    assert recall[0, 0] == pytest.approx((LEFT + WIDTH - RIGHT) / 2, abs=0.1)
    assert loss[-1, 0] == pytest.approx(WIDTH - RIGHT, abs=0.1)


def test_everything_stays_inside_the_drawing():
    rng = np.random.default_rng(0)
    history = [
        {"step": s, "loss": float(v), "lr": 1e-9, "total_loss": -3.0}
        for s, v in enumerate(rng.standard_cauchy(3000))
    ]
    for line in points(curves_section(history)):
        assert (line >= [LEFT, TOP]).all()
        assert (line <= [WIDTH - RIGHT, HEIGHT - BOTTOM]).all()


@pytest.mark.parametrize("value", [0.0, 1.0, -2.0, 1e-12, 1e12])
def test_a_constant_curve_and_a_single_record_are_drawn(value):
    for steps in ([7], [1, 2, 3]):
        (line,) = points(curves_section([{"step": s, "loss": value} for s in steps]))
        assert np.isfinite(line).all()
        assert len(line) == len(steps)


def test_what_the_pointer_reads_are_the_values():
    history = [{"step": s, "loss/mpn": 1 / s, "loss/backbone": 2 / s} for s in (1, 2, 4)]
    found = re.search(r'data-curves="([^"]*)"', curves_section(history))
    curves = json.loads(found[1].replace("&quot;", '"'))
    assert [(c["name"], c["step"], c["value"]) for c in curves] == [
        ("mpn", [1, 2, 4], [1.0, 0.5, 0.25]),
        ("backbone", [1, 2, 4], [2.0, 1.0, 0.5]),
    ]


def test_missing_parts_get_a_sentence():
    assert isinstance(curves_section([]), Missing)
    assert isinstance(curves_section([{"step": 1, "epoch": 1.0}]), Missing)
    page = curves_section([{"step": 1, "loss": 1.0}])
    assert "No evaluation was recorded during the training." in page
    assert "No loss was recorded" not in page


@given(st.lists(st.floats(TOP, HEIGHT - BOTTOM), min_size=1, max_size=6))
def test_spread_labels_do_not_overlap_and_keep_their_order(places):
    moved = spread(places, TOP, HEIGHT - BOTTOM)
    order = np.argsort(places, kind="stable")
    gaps = np.diff(np.array(moved)[order])
    assert (gaps > LABEL_HEIGHT - 1e-6).all()
    assert min(moved) >= TOP - 1e-6
    assert max(moved) <= HEIGHT - BOTTOM + 1e-6


def test_short_names():
    assert short("loss/mpn", ["loss/mpn", "loss"]) == "mpn"
    assert short("a/loss", ["a/loss", "b/loss"]) == "a/loss"
    losses = ["train/loss", "train/loss_auxiliary", "train/loss_nodes"]
    assert [short(name, losses) for name in losses] == ["loss", "auxiliary", "loss_nodes"]
    assert short("attention/entropy_head0", ["attention/entropy_head0"]) == "head0"
    assert short("loss_of_something_long", ["loss_of_something_long"]) == "…ething_long"
