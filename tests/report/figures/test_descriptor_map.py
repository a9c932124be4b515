from __future__ import annotations

import re

import numpy as np

from ibc_pyg.report import MapPoints, ReportData
from ibc_pyg.report.figures.descriptor_map import MARGIN, SIDE, draw_map, fit_square, focus_classes
from ibc_pyg.report.page import render


def points(count: int = 60, classes: int = 15, **options) -> MapPoints:
    rng = np.random.default_rng(0)
    labels = np.arange(count) % classes
    names = [f"class {index}" for index in range(classes)]
    return MapPoints(rng.normal(size=(count, 2)).astype(np.float32), labels, names, **options)


def test_the_most_frequent_classes_are_in_focus():
    labels = np.array([3, 3, 3, 1, 1, 0, 0, 2])
    assert focus_classes(labels, most=3) == [3, 0, 1]
    assert focus_classes(labels) == [3, 0, 1, 2]


def test_points_fill_the_drawing_with_one_scale():
    xy = np.array([[0.0, 0.0], [4.0, 0.0], [0.0, 2.0], [4.0, 2.0]], np.float32)
    low, high = MARGIN, SIDE - MARGIN
    quarter = (high - low) / 4
    expected = [
        [low, SIDE / 2 + quarter],
        [high, SIDE / 2 + quarter],
        [low, SIDE / 2 - quarter],
        [high, SIDE / 2 - quarter],
    ]
    np.testing.assert_allclose(fit_square(xy), expected)
    np.testing.assert_allclose(fit_square(np.ones((3, 2), np.float32)), SIDE / 2)


def test_every_point_is_drawn_once_with_its_class():
    data = points(thumbs={0: np.zeros((8, 8), np.uint8), 14: np.zeros((8, 8, 3), np.uint8)})
    groups = draw_map(data).groups
    assert sum(group.path.count("M") for group in groups) == 58
    assert sorted(group.label for group in groups) == sorted(data.class_names)
    page = render(ReportData("t", points=data))
    assert page.count("<image ") == page.count('<rect class="thumb"') == 2
    assert sorted(re.findall(r"<g [^>]*><title>(.*?)</title>", page)) == sorted(data.class_names)
    for group in groups:
        assert f'<path d="{group.path}"></path>' in page


def test_legend_names_counts_and_numbers_twelve_classes():
    page = render(ReportData("t", points=points()))
    assert len(re.findall(r'<li data-class="\d+"', page)) == 12
    assert re.findall(r'class="number"[^>]*>(\d+)<', page) == [str(n) for n in range(1, 13)]
    assert "12 classes with 48 descriptors" in page


def test_no_points_no_map():
    empty = MapPoints(np.zeros((0, 2), np.float32), np.zeros(0, np.int64), [])
    assert draw_map(None) is None
    assert draw_map(empty) is None
