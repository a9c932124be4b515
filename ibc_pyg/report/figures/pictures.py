"""Gallery and attention maps as images, for trackers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import chain

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from ibc_pyg.errors import printable
from ibc_pyg.report.data import AttentionMap, GalleryRow, Thumb
from ibc_pyg.report.figures.encode import is_small, to_image
from ibc_pyg.report.figures.heat_map import PALETTES, HeatMap, heat_maps
from ibc_pyg.report.figures.literal_text import literal_text

DPI = 100
PAPER, INK, CORRECT, WRONG, BOUNDARY = "#fcfbf8", "#1d1f23", "#17724a", "#b3420d", "#a9a69d"
WIDTH, HEIGHT = 1.0, 1.2
"""Size of a cell of the gallery in inches."""
CAPTION = 14
"""Most characters of a class name below a picture."""


@literal_text()
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
    figure = Figure((columns * WIDTH, len(rows) * HEIGHT), DPI, facecolor=PAPER)
    # One axes, in inches: making axes for each picture takes seconds.
    axis = figure.add_axes((0, 0, 1, 1))
    for top, row in enumerate(rows):
        name = printable(row.query.label)
        caption = name if len(name) <= CAPTION else name[:CAPTION] + "…"
        _tile(axis, 0, top, row.query, caption, INK)
        for left, item in enumerate(row.neighbours, start=1):
            mark, colour = ("✓", CORRECT) if item.correct else ("✗", WRONG)
            _tile(axis, left, top, item, f"{mark} {item.similarity:.2f}", colour)
    axis.set(xlim=(0, columns * WIDTH), ylim=(len(rows) * HEIGHT, 0), aspect="equal")
    axis.set_axis_off()
    return pixels_of(figure)


@literal_text()
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
        draw_map(axis, heat_map, ends)
    return pixels_of(figure)


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


def _tile(axis: Axes, column: int, row: int, thumb: Thumb, caption: str, colour: str) -> None:
    """Draw a picture with frame and caption in a cell of the gallery."""
    image = to_image(thumb.picture).convert("RGB")
    scale = (WIDTH - 0.1) / max(image.size)
    width, height = image.width * scale, image.height * scale
    centre, middle = (column + 0.5) * WIDTH, row * HEIGHT + WIDTH / 2
    left, top = centre - width / 2, middle - height / 2
    axis.imshow(
        image,
        extent=(left, left + width, top + height, top),
        interpolation="nearest" if is_small(thumb.picture) else "antialiased",
    )
    axis.add_patch(Rectangle((left, top), width, height, fill=False, edgecolor=colour, linewidth=2))
    axis.text(
        centre,
        row * HEIGHT + WIDTH - 0.02,
        caption,
        fontsize=8,
        color=colour,
        ha="center",
        va="top",
    )


def draw_map(axis: Axes, heat_map: HeatMap, ends: npt.NDArray[np.int64]) -> None:
    """Draw an attention map with lines after the given nodes."""
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


def pixels_of(figure: Figure) -> npt.NDArray[np.uint8]:
    """Return a figure as RGB, uint8 `[H, W, 3]`."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[:, :, :3].copy()  # [H, W, 3]
