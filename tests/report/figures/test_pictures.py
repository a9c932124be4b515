from __future__ import annotations

import warnings

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from ibc_pyg.report import (
    AttentionMap,
    GalleryRow,
    Neighbour,
    Thumb,
    picture_attention,
    picture_gallery,
)
from ibc_pyg.report.figures.heat_map import PALETTES
from ibc_pyg.report.figures.pictures import CORRECT, WRONG


def row(*correct: bool, label: str = "β $x_1$ <b>\n") -> GalleryRow:
    grey = np.full((28, 28), 77, np.uint8)
    wide = np.full((30, 90, 3), (10, 200, 30), np.uint8)
    return GalleryRow(
        Thumb(grey, label),
        [Neighbour(wide, label, similarity=0.5, correct=value) for value in correct],
    )


def has(picture: np.ndarray, colour: str) -> bool:
    rgb = np.round(np.array(to_rgb(colour)) * 255)
    return bool((picture == rgb).all(-1).any())


def test_gallery_frames_tell_correct_from_wrong():
    for flags in ([True], [False], [True, False]):
        picture = picture_gallery([row(*flags)])
        assert picture.dtype == np.uint8
        assert picture.shape[2] == 3
        assert (has(picture, CORRECT), has(picture, WRONG)) == (True in flags, False in flags)


def test_gallery_shows_the_pictures_in_their_proportions():
    picture = picture_gallery([row(True)])
    green = (picture == (10, 200, 30)).all(-1)
    height, width = green.any(1).sum(), green.any(0).sum()
    assert width / height == pytest.approx(3, rel=0.15)  # the frame covers some pixels
    grey = (picture == 77).all(-1)
    assert grey.any(0).sum() == pytest.approx(grey.any(1).sum(), abs=2)


def test_gallery_rows_may_differ_in_length_and_be_single():
    one, three = picture_gallery([row(True)]), picture_gallery([row(), row(True, True, False)])
    assert (three.shape[0], three.shape[1]) == (2 * one.shape[0], 2 * one.shape[1])
    with pytest.raises(ValueError, match="rows must hold at least one query"):
        picture_gallery([])


def test_letters_that_the_font_lacks_do_not_warn():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        picture_gallery([row(True, label="\u5c71\u5ddd")])


def attention(heads: int, null: bool) -> AttentionMap:
    rng = np.random.default_rng(0)
    weights = rng.dirichlet(np.ones(13), (heads, 12)).astype(np.float32)
    return AttentionMap(
        weights[:, :, :12],
        [name for name in "abc" for _ in range(4)],
        weights[:, :, 12] if null else None,
    )


def test_attention_cells_have_the_colours_of_the_palette():
    weights = np.full((1, 4, 4), 0.1, np.float32)
    weights[0, 0] = 1.0
    picture = picture_attention(AttentionMap(weights, list("aaaa")))
    dark = (picture == PALETTES["light"][255]).all(-1)
    light = (picture == PALETTES["light"][26]).all(-1)
    # One row of four has the largest weight: a quarter of the square, at its top.
    assert dark.sum() / (dark.sum() + light.sum()) == pytest.approx(0.25, abs=0.02)
    assert np.flatnonzero(dark.any(1)).max() < np.flatnonzero(light.any(1)).min() + 2


@pytest.mark.parametrize(("heads", "grid"), [(1, (1, 1)), (2, (2, 2)), (4, (2, 3)), (8, (3, 3))])
@pytest.mark.parametrize("null", [False, True])
def test_attention_maps_stand_in_a_grid(heads, grid, null):
    single = picture_attention(attention(1, null)).shape
    shape = picture_attention(attention(heads, null)).shape
    assert shape == (grid[0] * single[0], grid[1] * single[1], 3)


def test_a_dollar_in_a_name_is_a_dollar():
    """As a formula, the first is an error and the second has fewer letters."""
    picture_gallery([row(True, label="$x_{")])
    formula = picture_gallery([row(True, label="$a$")])
    assert not np.array_equal(formula, picture_gallery([row(True, label="a")]))
