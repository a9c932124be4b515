from __future__ import annotations

import re

import numpy as np

from ibc_pyg.report import GalleryRow, Neighbour, ReportData, Thumb
from ibc_pyg.report.page import render

PICTURE = np.full((28, 28), 255, np.uint8)


def test_correct_and_wrong_neighbours_are_marked_by_more_than_colour():
    neighbours = [
        Neighbour(PICTURE, "alpha", similarity=0.91, correct=True),
        Neighbour(PICTURE, "beta", similarity=0.456, correct=False),
        Neighbour(PICTURE, "alpha", similarity=-0.1, correct=True),
    ]
    page = render(ReportData("t", gallery=[GalleryRow(Thumb(PICTURE, "alpha"), neighbours)]))
    assert re.findall(r'<li class="(correct|wrong)">', page) == ["correct", "wrong", "correct"]
    assert re.findall(r'class="mark"[^>]*>(.)<', page) == ["✓", "✗", "✓"]
    assert "2/3 correct" in page
    assert re.findall(r'alt="([^"]*)"', page) == [
        "Query of class alpha",
        "Neighbour 1, correct: alpha, similarity 0.91",
        "Neighbour 2, wrong: beta, similarity 0.46",
        "Neighbour 3, correct: alpha, similarity -0.10",
    ]


def test_only_small_pictures_are_enlarged_without_smoothing():
    wide = np.zeros((20, 64, 3), np.uint8)
    rows = [GalleryRow(Thumb(PICTURE, "small"), []), GalleryRow(Thumb(wide, "large"), [])]
    page = render(ReportData("t", gallery=rows))
    small, large = re.findall(r"<img [^>]*>", page)
    assert 'class="crisp"' in small
    assert 'class="crisp"' not in large
