"""An explanation as one picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, Rectangle

from ibc_pyg.errors import printable
from ibc_pyg.explain.pair import PairExplanation
from ibc_pyg.report.data import AttentionMap, BatchGraph
from ibc_pyg.report.figures.encode import is_small, to_image
from ibc_pyg.report.figures.heat_map import heat_maps
from ibc_pyg.report.figures.literal_text import literal_text
from ibc_pyg.report.figures.pictures import DPI, INK, PAPER, draw_map, pixels_of

_SAME, _OTHER = "#2a6797", "#b3420d"


@literal_text()
def picture_explanation(
    pair: PairExplanation,
    heat: Sequence[npt.NDArray[np.uint8]],
    names: Sequence[str],
    attention: AttentionMap | None,
    graph: BatchGraph | None,
) -> npt.NDArray[np.uint8]:
    """Draw two pictures with their contributions, and below them attention and graph of a batch.

    Returns:
        RGB, uint8 `[H, W, 3]`.
    """
    below = attention is not None and graph is not None
    figure = Figure((12, 10.2 if below else 3.9), DPI, facecolor=PAPER, layout="constrained")
    ratios = [1, 1.8] if below else [1, 0.01]
    both: Any = figure.subfigures(2, 1, height_ratios=ratios)
    upper, lower = both
    upper.suptitle(
        f"Cosine {pair.cosine:.4f}, {'exact' if pair.exact else 'approximate'} division",
        fontsize=11,
        color=INK,
    )
    for place, axis in enumerate(upper.subplots(1, 4)):
        side = place // 2
        picture = pair.pixels[side] if place % 2 == 0 else heat[side]
        _plain(axis)
        axis.imshow(to_image(picture), cmap="gray", vmin=0, vmax=255)
        if place % 2 == 0:
            axis.set_title(printable(names[side])[:40], fontsize=9, color=INK, loc="left")
    if attention is not None and graph is not None:
        left, right = lower.subplots(1, 2)
        ends = np.cumsum([size for _, size in attention.runs])[:-1]
        _plain(left)
        draw_map(left, heat_maps(attention)[0], ends)
        _plain(right)
        _graph(right, graph)
    return pixels_of(figure)


def _plain(axis: Axes) -> None:
    axis.set(xticks=[], yticks=[], facecolor=PAPER)
    axis.spines[:].set_visible(False)


def _graph(axis: Axes, graph: BatchGraph) -> None:
    count = len(graph.nodes)
    side = min(0.14, 1.9 * np.pi / (1.25 * count))
    for receiver, sender, weight in reversed(graph.edges):
        same = graph.nodes[receiver].label == graph.nodes[sender].label
        strength = graph.strength(weight)
        axis.add_patch(
            FancyArrowPatch(
                graph.places[sender] * (1 - 0.75 * side),
                graph.places[receiver] * (1 - 0.75 * side),
                arrowstyle="-",
                connectionstyle="arc3,rad=0.15",
                linewidth=0.4 + 1.6 * strength,
                alpha=0.18 + 0.72 * strength,
                color=_SAME if same else _OTHER,
            )
        )
    for node, (x, y) in zip(graph.nodes, graph.places, strict=True):
        axis.imshow(
            to_image(node.picture).convert("RGB"),
            extent=(x - side / 2, x + side / 2, y + side / 2, y - side / 2),
            interpolation="nearest" if is_small(node.picture) else "antialiased",
            zorder=3,
        )
        corner = (x - side / 2, y - side / 2)
        axis.add_patch(
            Rectangle(corner, side, side, fill=False, edgecolor=INK, linewidth=0.6, zorder=4)
        )
    axis.set(xlim=(-1.12, 1.12), ylim=(1.12, -1.12), aspect="equal")
    axis.set_title("The strongest edges", fontsize=9, color=INK, loc="left")
