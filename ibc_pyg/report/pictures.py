"""Gallery and attention maps as images, for trackers."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from itertools import chain

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

from ibc_pyg.report.data import AttentionMap, GalleryRow, Thumb
from ibc_pyg.report.encode import is_small, to_image
from ibc_pyg.report.heat_map import PALETTES, HeatMap, heat_maps

DPI = 100
PAPER, INK, CORRECT, WRONG, BOUNDARY = "#fcfbf8", "#1d1f23", "#17724a", "#b3420d", "#a9a69d"
CAPTION = 14
"""Most characters of a class name below a picture."""


def picture_gallery(rows: Sequence[GalleryRow]) -> npt.NDArray[np.uint8]:
    """Draw queries (left) and their neighbours with a frame and a tick or a cross each.

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
    figure, axes = _grid(len(rows), columns, width=1.0, height=1.2)
    for row, line in zip(rows, axes, strict=True):
        name = (row.query.label.splitlines() or [""])[0]
        _tile(line[0], row.query, name if len(name) <= CAPTION else name[:CAPTION] + "…", INK)
        for axis, item in zip(line[1:], row.neighbours, strict=False):
            mark, colour = ("✓", CORRECT) if item.correct else ("✗", WRONG)
            _tile(axis, item, f"{mark} {item.similarity:.2f}", colour)
    return _pixels(figure)


def picture_attention(attention: AttentionMap) -> npt.NDArray[np.uint8]:
    """Draw the mean over heads and each head in a grid, with lines between classes.

    Returns:
        RGB, uint8 `[H, W, 3]`: receivers down, senders across, the null node as a last column.
    """
    maps = heat_maps(attention)
    ends = np.cumsum([size for _, size in attention.runs])[:-1]
    columns = math.ceil(math.sqrt(len(maps)))
    figure, axes = _grid(math.ceil(len(maps) / columns), columns, width=4.0, height=4.2)
    for axis, heat_map in zip(chain.from_iterable(axes), maps, strict=False):
        _map(axis, heat_map, ends)
    return _pixels(figure)


def _grid(
    rows: int, columns: int, *, width: float, height: float
) -> tuple[Figure, list[list[Axes]]]:
    """Return a figure and its cells, `width` x `height` inches each, without ticks and spines."""
    figure = Figure((columns * width, rows * height), DPI, facecolor=PAPER, layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[], facecolor=PAPER)
        axis.spines[:].set_visible(False)
    return figure, axes.tolist()


def _tile(axis: Axes, thumb: Thumb, caption: str, colour: str) -> None:
    axis.imshow(
        to_image(thumb.picture).convert("RGB"),
        interpolation="nearest" if is_small(thumb.picture) else "antialiased",
    )
    axis.spines[:].set(visible=True, color=colour, linewidth=2)
    axis.set_xlabel(caption, fontsize=8, color=colour, parse_math=False)


def _map(axis: Axes, heat_map: HeatMap, ends: npt.NDArray[np.int64]) -> None:
    nodes = len(heat_map.square)
    shades = heat_map.square.astype(np.float32)  # [N, N]
    if heat_map.null is not None:
        # A gap of the same width, which is not drawn, separates the null node from the others.
        wide = max(1, nodes // 24)
        gap = np.full((nodes, wide), np.nan, np.float32)
        shades = np.concatenate([shades, gap, heat_map.null.repeat(wide, 1)], 1)  # [N, N + 2 * W]
    axis.imshow(
        shades,
        cmap=ListedColormap(PALETTES["light"] / 255),
        vmin=0,
        vmax=255,
        interpolation="nearest",
    )
    axis.hlines(ends - 0.5, -0.5, nodes - 0.5, colors=BOUNDARY, linewidth=0.5)
    axis.vlines(ends - 0.5, -0.5, nodes - 0.5, colors=BOUNDARY, linewidth=0.5)
    axis.set_title(
        f"{heat_map.title}, 0 to {100 * heat_map.top:.2g} %", fontsize=9, color=INK, loc="left"
    )


def _pixels(figure: Figure) -> npt.NDArray[np.uint8]:
    canvas = FigureCanvasAgg(figure)
    with warnings.catch_warnings():
        # Class names may have letters that the font lacks; they are drawn as boxes.
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        canvas.draw()
    return np.asarray(canvas.buffer_rgba())[:, :, :3].copy()  # [H, W, 3]
