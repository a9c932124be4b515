from __future__ import annotations

import re

import numpy as np
import pytest

from ibc_pyg.report import AttentionMap, ReportData
from ibc_pyg.report.figures.heat_map import (
    COLOURS,
    PALETTES,
    attention_view,
    own_class_share,
    shades,
)
from ibc_pyg.report.page import render


def block_attention(heads: int = 2) -> AttentionMap:
    """Two classes of three nodes: 0.25 to each of the own class, 0.05 to others, rest to null."""
    same = np.kron(np.eye(2), np.ones((3, 3)))
    weights = np.where(same, 0.25, 0.05).astype(np.float32)
    weights = np.stack([weights] * heads)
    return AttentionMap(weights, list("aaabbb"), 1.0 - weights.sum(-1))


def test_own_class_share_and_chance():
    inside, chance = own_class_share(block_attention())
    assert inside == pytest.approx(0.75)
    assert chance == pytest.approx(3 / 7), "six nodes and the null node"
    plain = AttentionMap(np.full((1, 6, 6), 1 / 6, np.float32), list("aaabbb"))
    assert own_class_share(plain) == pytest.approx((0.5, 0.5))


def test_shades_are_proportional_and_clip_outliers():
    weights = np.linspace(0, 1, 10_000, dtype=np.float32).reshape(100, 100)
    weights[0, 0] = 50.0
    square, column, top = shades(weights, None)
    assert column is None
    assert top == pytest.approx(0.995, abs=1e-3)
    assert square[0, 0] == 255
    expected = np.clip(weights / top, 0, 1) * 255
    assert np.abs(square.astype(float) - expected).max() <= 0.51  # half a shade and rounding


def test_null_share_has_the_scale_of_the_weights():
    attention = block_attention()
    square, column, _ = shades(attention.weights[0], attention.null_share[0])
    assert square.shape == (6, 6)
    assert column.shape == (6, 1)
    assert square[0, 0] == 255
    # 0.1 of 0.25, in 255 shades.
    assert set(column.ravel().tolist()) == {102}


def test_attention_of_zeros_does_not_divide_by_zero():
    square, _, _ = shades(np.zeros((4, 4), np.float32), None)
    assert not square.any()


@pytest.mark.parametrize("name", ["light", "dark"])
def test_palettes_rise_evenly_in_luminance(name):
    luminance = PALETTES[name] @ np.array([0.2126, 0.7152, 0.0722])
    steps = np.diff(luminance) * (1 if name == "dark" else -1)
    assert (steps > -1).all(), "rounding to 8 bits may turn a step by less than one level"
    assert abs(luminance[-1] - luminance[0]) > 180


def test_section_shows_mean_heads_boundaries_and_null():
    page = render(ReportData("t", attention=block_attention(heads=2)))
    titles = re.findall(r'<span class="title">(.*?)</span><span class="scale">', page)
    assert titles == ["Mean of 2 heads", "Head 1", "Head 2"]
    assert page.count('d="M3 0V6M0 3H6"') == 3
    assert page.count('class="null"') == 3
    assert "6 nodes of 2 classes" in page
    assert "75.0 %" in page
    assert "null node, the narrow column, takes 10.0 %" in page
    assert re.findall(r'style="flex:(\d+) 0 0"', page) == ["3", "3"]


def test_single_head_without_null_node():
    attention = AttentionMap(np.full((1, 4, 4), 0.25, np.float32), list("aabb"))
    page = render(ReportData("t", attention=attention))
    assert re.findall(r'<span class="title">(.*?)</span><span class="scale">', page) == ["One head"]
    assert "null node" not in page
    assert 'class="null"' not in page


def test_many_classes_have_no_names_beside_the_map():
    names = [str(i) for i in range(60)]
    attention = AttentionMap(np.full((1, 60, 60), 1 / 60, np.float32), names)
    assert 'class="classes"' not in render(ReportData("t", attention=attention))


def test_no_attention_no_section():
    assert attention_view(None) is None


@pytest.mark.parametrize("name", ["light", "dark"])
def test_style_sheet_has_the_colours_of_the_palettes(name):
    ends = ["#%02x%02x%02x" % tuple(colour) for colour in PALETTES[name][::51]]  # noqa: UP031
    assert ends == list(COLOURS[name])
    assert f"--ramp: linear-gradient(90deg, {', '.join(ends)});" in render(ReportData("t"))
