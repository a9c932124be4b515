from __future__ import annotations

import numpy as np
import pytest

from ibc_pyg.report import (
    AttentionMap,
    GalleryRow,
    Neighbour,
    Thumb,
    picture_attention,
    picture_gallery,
)
from ibc_pyg.report.attention import PALETTES
from ibc_pyg.report.pictures import CAPTION, FRAME, GAP, HEADING, INK, PAPER, RIGHT, TILE, WRONG


def row(*correct: bool, label: str = "β $x_1$ <b>\n") -> GalleryRow:
    grey = np.full((28, 28), 77, np.uint8)
    wide = np.full((30, 90, 3), (10, 200, 30), np.uint8)
    return GalleryRow(
        Thumb(grey, label),
        [Neighbour(wide, label, similarity=0.5, correct=value) for value in correct],
    )


def test_gallery_frames_say_right_or_wrong():
    picture = picture_gallery([row(True, False), row(False, True)])
    assert picture.dtype == np.uint8
    height = GAP + 2 * (TILE + CAPTION + GAP)
    assert picture.shape == (height, 2 * GAP + 3 * (TILE + GAP), 3)
    for number, colours in enumerate([(INK, RIGHT, WRONG), (INK, WRONG, RIGHT)]):
        top = GAP + number * (TILE + CAPTION + GAP)
        for column, colour in enumerate(colours):
            left = GAP + column * (TILE + GAP) + (GAP if column else 0)
            frame = picture[top : top + FRAME, left : left + TILE]
            assert (frame == colour).all()


def test_gallery_shows_the_pictures_in_their_proportions():
    picture = picture_gallery([row(True)])
    inside = picture[GAP + FRAME : GAP + TILE - FRAME, GAP + FRAME : GAP + TILE - FRAME]
    assert (inside == 77).all()
    left = 2 * GAP + TILE + GAP
    column = picture[GAP : GAP + TILE, left + TILE // 2]
    green = (column == (10, 200, 30)).all(-1)
    assert green.sum() == pytest.approx((TILE - 2 * FRAME) / 3, abs=1)
    assert (column[FRAME + 2] == PAPER).all()


def test_gallery_rows_may_differ_in_length_and_be_single():
    assert picture_gallery([row(), row(True, True, False)]).shape[1] == 2 * GAP + 4 * (TILE + GAP)
    with pytest.raises(ValueError, match="rows must hold at least one query"):
        picture_gallery([])


def attention(heads: int, null: bool) -> AttentionMap:
    rng = np.random.default_rng(0)
    weights = rng.dirichlet(np.ones(13), (heads, 12)).astype(np.float32)
    return AttentionMap(
        weights[:, :, :12], [name for name in "abc" for _ in range(4)], weights[:, :, 12] * null
    )


def test_attention_cells_have_the_colours_of_the_palette():
    data = attention(heads=1, null=True)
    picture = picture_attention(data)
    cell = 384 // 12
    square = picture[HEADING : HEADING + 384, GAP : GAP + 384]
    middles = square[cell // 2 :: cell, cell // 2 :: cell].reshape(-1, 3)
    index = [int(np.abs(PALETTES["light"].astype(int) - rgb).sum(1).argmin()) for rgb in middles]
    # Shades rank as the weights do, but for the clipped ones at the top.
    order = np.argsort(data.weights[0].ravel())
    ranked = np.array(index)[order]
    assert (np.diff(ranked) >= -1).all()
    assert ranked[-1] == 255


@pytest.mark.parametrize(("heads", "grid"), [(1, (1, 1)), (2, (2, 2)), (4, (2, 3)), (8, (3, 3))])
def test_attention_maps_stand_in_a_grid(heads, grid):
    single = picture_attention(attention(1, null=True)).shape
    shape = picture_attention(attention(heads, null=True)).shape
    assert shape == (grid[0] * single[0], grid[1] * single[1], 3)


def test_large_batches_and_no_null_node():
    weights = np.full((1, 500, 500), 1 / 500, np.float32)
    picture = picture_attention(AttentionMap(weights, ["a"] * 500))
    assert picture.shape == (500 + HEADING + GAP, 500 + 2 * GAP, 3)
