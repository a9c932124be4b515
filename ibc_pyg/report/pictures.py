"""The gallery and the attention map as pictures, for trackers that take pixels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from ibc_pyg.report.attention import PALETTES, shades
from ibc_pyg.report.data import AttentionMap, GalleryRow, Picture
from ibc_pyg.report.encode import to_image
from ibc_pyg.report.gallery import is_small

TILE, GAP, FRAME, CAPTION = 80, 10, 3, 18
PAPER, INK, RIGHT, WRONG = (252, 251, 248), (29, 31, 35), (23, 114, 74), (179, 66, 13)
MAP_SIDE = 384
HEADING = 24
BOUNDARY = (169, 166, 157)


def picture_gallery(rows: Sequence[GalleryRow]) -> npt.NDArray[np.uint8]:
    """Draw queries (left) and their neighbours; right ones get a tick, wrong ones a cross.

    Args:
        rows: At least one query.

    Returns:
        RGB, uint8 `[H, W, 3]`.

    Raises:
        ValueError: If there is no row.
    """
    if not rows:
        raise ValueError("rows must hold at least one query, got none")
    columns = 1 + max(len(row.neighbours) for row in rows)
    size = (GAP * 2 + columns * (TILE + GAP), GAP + len(rows) * (TILE + CAPTION + GAP))
    canvas = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(canvas)
    for number, row in enumerate(rows):
        top = GAP + number * (TILE + CAPTION + GAP)
        _tile(canvas, draw, row.query.picture, (GAP, top), INK)
        _caption(draw, row.query.label, (GAP, top))
        for column, neighbour in enumerate(row.neighbours, start=1):
            place = (GAP * 2 + column * (TILE + GAP), top)
            colour = RIGHT if neighbour.correct else WRONG
            _tile(canvas, draw, neighbour.picture, place, colour)
            _mark(draw, place, neighbour.correct, colour)
            _caption(draw, f"{neighbour.similarity:.2f}", place)
    return np.asarray(canvas)


def picture_attention(attention: AttentionMap) -> npt.NDArray[np.uint8]:
    """Draw the mean over heads and each head in a grid, with lines between classes.

    Returns:
        RGB, uint8 `[H, W, 3]`: receivers down, senders across, the null node as a last column.
    """
    heads, count = attention.weights.shape[:2]
    maps = [("mean of heads", attention.weights.mean(0), _null(attention, None))]
    if heads > 1:
        maps += [
            (f"head {head + 1}", attention.weights[head], _null(attention, head))
            for head in range(heads)
        ]
    cell = max(1, round(MAP_SIDE / count))
    ends = np.cumsum([size for _, size in attention.runs])[:-1] * cell
    drawn = []
    for title, weights, null in maps:
        square, column, top = shades(weights, null)
        parts = [_heat(square, cell)]  # [N * cell, N * cell, 3]
        for end in ends:
            parts[0][end, :] = parts[0][:, end] = BOUNDARY
        if column is not None:
            blank = np.full((count * cell, 4, 3), PAPER, np.uint8)
            parts += [blank, _heat(column, cell).repeat(max(1, 12 // cell), 1)]
        drawn.append(_headed(np.concatenate(parts, 1), f"{title}, 0 to {100 * top:.2g} %"))
    columns = math.ceil(math.sqrt(len(drawn)))
    drawn += [np.full_like(drawn[0], PAPER)] * (-len(drawn) % columns)
    rows = [np.concatenate(drawn[at : at + columns], 1) for at in range(0, len(drawn), columns)]
    return np.concatenate(rows, 0)  # [H, W, 3]


def _null(attention: AttentionMap, head: int | None) -> npt.NDArray[np.float32] | None:
    share = attention.null_share
    if share is None:
        return None
    return np.asarray(share.mean(0) if head is None else share[head])  # [N]


def _heat(indices: npt.NDArray[np.uint8], cell: int) -> npt.NDArray[np.uint8]:
    return PALETTES["light"][indices].repeat(cell, 0).repeat(cell, 1)  # [H * cell, W * cell, 3]


def _headed(picture: npt.NDArray[np.uint8], heading: str) -> npt.NDArray[np.uint8]:
    height, width = picture.shape[:2]
    canvas = Image.new("RGB", (width + 2 * GAP, height + HEADING + GAP), PAPER)
    canvas.paste(Image.fromarray(picture), (GAP, HEADING))
    ImageDraw.Draw(canvas).text((GAP, 6), heading, INK, _font())
    return np.asarray(canvas)


def _tile(
    canvas: Image.Image,
    draw: ImageDraw.ImageDraw,
    picture: Picture,
    place: tuple[int, int],
    colour: tuple[int, int, int],
) -> None:
    left, top = place
    draw.rectangle((left, top, left + TILE - 1, top + TILE - 1), outline=colour, width=FRAME)
    image = to_image(picture).convert("RGB")
    inner = TILE - 2 * FRAME
    scale = inner / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    method = Image.Resampling.NEAREST if is_small(picture) else Image.Resampling.LANCZOS
    resized = image.resize(size, method)
    canvas.paste(resized, (left + (TILE - size[0]) // 2, top + (TILE - size[1]) // 2))


def _mark(
    draw: ImageDraw.ImageDraw,
    place: tuple[int, int],
    correct: bool,
    colour: tuple[int, int, int],
) -> None:
    side = 18
    left, top = place[0] + TILE - side, place[1] + TILE - side
    draw.rectangle((left, top, left + side - 1, top + side - 1), fill=colour)
    strokes = [[(4, 9), (8, 13), (14, 5)]] if correct else [[(5, 5), (13, 13)], [(5, 13), (13, 5)]]
    for stroke in strokes:
        draw.line([(left + x, top + y) for x, y in stroke], fill=PAPER, width=2)


def _caption(draw: ImageDraw.ImageDraw, text: str, place: tuple[int, int]) -> None:
    font = _font()
    line = text.splitlines()[0] if text.strip() else ""
    while line and font.getlength(line) > TILE:
        line = line[:-2] + "…" if len(line) > 2 else ""
    draw.text((place[0], place[1] + TILE + 3), line, INK, font)


def _font() -> ImageFont.FreeTypeFont:
    # The font that matplotlib brings: it knows most alphabets, and is there on every machine.
    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    return ImageFont.truetype(str(path), 12)
