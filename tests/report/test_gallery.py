from __future__ import annotations

import re

import numpy as np

from ibc_pyg.report import GalleryRow, Neighbour, Thumb
from ibc_pyg.report.gallery import gallery_section, is_small
from ibc_pyg.report.markup import Missing

PICTURE = np.full((28, 28), 255, np.uint8)


def test_right_and_wrong_ones_are_marked_by_more_than_colour():
    neighbours = [
        Neighbour(PICTURE, "alpha", similarity=0.91, correct=True),
        Neighbour(PICTURE, "beta", similarity=0.456, correct=False),
        Neighbour(PICTURE, "alpha", similarity=-0.1, correct=True),
    ]
    page = gallery_section([GalleryRow(Thumb(PICTURE, "alpha"), neighbours)])
    assert re.findall(r'<li class="(\w+)">', page) == ["right", "wrong", "right"]
    assert re.findall(r'class="mark"[^>]*>(.)<', page) == ["✓", "✗", "✓"]
    assert "2 of 3 right" in page
    assert re.findall(r'alt="([^"]*)"', page) == [
        "Query of class alpha",
        "Neighbour 1, right: alpha, similarity 0.91",
        "Neighbour 2, wrong: beta, similarity 0.46",
        "Neighbour 3, right: alpha, similarity -0.10",
    ]


def test_no_queries_give_a_sentence():
    assert isinstance(gallery_section([]), Missing)


def test_only_small_pictures_are_enlarged_with_sharp_pixels():
    assert is_small(PICTURE)
    assert not is_small(np.zeros((20, 64, 3), np.uint8))
