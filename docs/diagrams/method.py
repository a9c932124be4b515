"""Draw the method: batch, complete graph, message passing, two losses.

    python docs/diagrams/method.py

writes docs/images/method.png and method-dark.png, for pages with a light and a dark background.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch, Polygon, Rectangle

IMAGES = Path(__file__).resolve().parents[1] / "images"
CLASSES = ("#3f7fdb", "#e08426", "#27a07c")
LETTERS = ("A", "R", "g")
FONTS = ("DejaVu Sans", "DejaVu Serif", "DejaVu Sans Mono")
TIMES, REFINED = "\N{MULTIPLICATION SIGN}", "x\N{PRIME}"
WIDTH, HEIGHT = 10.0, 4.2  # inches; a page shows about 85 pixels to the inch
ROW, LOW = 2.63, 0.84  # heights of the upper and the lower path


@dataclass(frozen=True)
class Theme:
    """Colours of one background.

    Attributes:
        text: Titles and boxes.
        soft: Captions and arrows.
        box: Filling of boxes.
        panel: Filling of the part that only training needs.
        edge: Outlines.
        loss: Outline of the losses.
    """

    text: str
    soft: str
    box: str
    panel: str
    edge: str
    loss: str


THEMES = {
    "method.png": Theme("#1f2328", "#59636e", "#ffffff", "#f1f4f8", "#aeb8c4", "#c2304a"),
    "method-dark.png": Theme("#e6edf3", "#a3adb8", "#262d36", "#171c23", "#56616e", "#ff7b8a"),
}


class Drawing:
    """A canvas in inches with the few shapes that the diagram is made of."""

    def __init__(self, theme: Theme) -> None:
        self.theme = theme
        self.figure = Figure(figsize=(WIDTH, HEIGHT))
        self.axes: Axes = self.figure.add_axes((0, 0, 1, 1))
        self.axes.set(xlim=(0, WIDTH), ylim=(0, HEIGHT), aspect="equal")
        self.axes.axis("off")

    def title(self, x: float, y: float, text: str, *, size: float = 10.5) -> None:
        """Write a heading around (x, y)."""
        self.axes.text(
            x, y, text, ha="center", va="center", size=size, weight="bold", color=self.theme.text
        )

    def caption(self, x: float, y: float, text: str) -> None:
        """Write an explanation around (x, y)."""
        self.axes.text(
            x, y, text, ha="center", va="center", size=9, color=self.theme.soft, linespacing=1.3
        )

    def box(
        self, x: float, y: float, width: float, height: float, text: str, *, loss: bool = False
    ) -> None:
        """Draw a rounded box around the centre (x, y)."""
        self.axes.add_patch(
            FancyBboxPatch(
                (x - width / 2, y - height / 2),
                width,
                height,
                boxstyle="round,pad=0,rounding_size=0.09",
                facecolor=self.theme.box,
                edgecolor=self.theme.loss if loss else self.theme.edge,
                linewidth=1.8 if loss else 1.2,
            )
        )
        self.axes.text(
            x, y, text, ha="center", va="center", size=9.5, color=self.theme.text, linespacing=1.25
        )

    def arrow(self, *points: tuple[float, float], dashed: bool = False) -> None:
        """Draw a line through the points, with a head at the last."""
        style = {"color": self.theme.soft, "linewidth": 1.5, "linestyle": "--" if dashed else "-"}
        for start, end in itertools.pairwise(points[:-1]):
            self.axes.plot(*zip(start, end, strict=True), solid_capstyle="round", **style)
        self.axes.add_patch(
            FancyArrowPatch(
                *points[-2:], arrowstyle="-|>", mutation_scale=12, shrinkA=0, shrinkB=0, **style
            )
        )


def batch(drawing: Drawing, x: float, y: float) -> None:
    """Draw P x K images, a row for each class."""
    side, gap = 0.4, 0.07
    for (row, colour), (column, font) in itertools.product(enumerate(CLASSES), enumerate(FONTS)):
        left = x + (column - 1.5) * side + (column - 1) * gap
        low = y + (0.5 - row) * side - (row - 1) * gap
        drawing.axes.add_patch(
            Rectangle((left, low), side, side, facecolor=colour, edgecolor="none")
        )
        drawing.axes.text(
            left + side / 2,
            low + side / 2,
            LETTERS[row],
            ha="center",
            va="center_baseline",
            family=font,
            size=16,
            color="#ffffff",
            rotation=(-11, 0, 9)[(row + column) % 3],
        )


def embeddings(drawing: Drawing, x: float, y: float, spread: float) -> None:
    """Draw N vectors as strips of cells; `spread` is their variation within a class."""
    rng = np.random.default_rng(4)
    centres = rng.uniform(0.15, 0.9, (3, 4))
    cell, height, gap = 0.13, 0.125, 0.035
    for index in range(9):
        row = index // 3
        low = y + (3.5 - index) * (height + gap) - height / 2 + 0.06 * (1 - row)
        values = np.clip(centres[row] + rng.uniform(-spread, spread, 4), 0.2, 1)
        for column, value in enumerate(values):
            drawing.axes.add_patch(
                Rectangle(
                    (x + (column - 2) * cell, low),
                    cell * 0.94,
                    height,
                    facecolor=CLASSES[row],
                    alpha=float(value),
                    linewidth=0,
                )
            )


def graph(drawing: Drawing, x: float, y: float, radius: float) -> None:
    """Draw the complete graph of the nine nodes; edges within a class are heavier."""
    places = [
        (x + radius * math.sin(angle), y + radius * math.cos(angle))
        for angle in (2 * math.pi * (index - 1) / 9 for index in range(9))
    ]
    for first, second in itertools.combinations(range(9), 2):
        alike = first // 3 == second // 3
        drawing.axes.plot(
            *zip(places[first], places[second], strict=True),
            color=CLASSES[first // 3] if alike else drawing.theme.soft,
            linewidth=2.2 if alike else 0.6,
            alpha=1.0 if alike else 0.55,
            zorder=2 + alike,
        )
    for index, place in enumerate(places):
        drawing.axes.add_patch(
            Circle(
                place,
                0.105,
                facecolor=CLASSES[index // 3],
                edgecolor=drawing.theme.panel,
                linewidth=1.2,
                zorder=5,
            )
        )


def draw(theme: Theme) -> Figure:
    """Return the diagram in the colours of a theme."""
    drawing = Drawing(theme)
    drawing.axes.add_patch(
        FancyBboxPatch(
            (3.72, 0.12),
            6.16,
            3.96,
            boxstyle="round,pad=0,rounding_size=0.15",
            facecolor=theme.panel,
            edgecolor=theme.edge,
            linewidth=1,
            linestyle=(0, (5, 3)),
        )
    )
    drawing.caption(4.76, 0.34, "in training only")
    top, bottom = 3.72, 1.64

    drawing.title(0.8, top, "batch")
    batch(drawing, 0.8, ROW)
    drawing.caption(0.8, bottom, f"N = P classes\n{TIMES} K images")

    drawing.axes.add_patch(
        Polygon(
            [(1.76, ROW + 0.6), (1.76, ROW - 0.6), (2.6, ROW - 0.36), (2.6, ROW + 0.36)],
            facecolor=theme.box,
            edgecolor=theme.edge,
            linewidth=1.2,
            joinstyle="round",
        )
    )
    drawing.axes.text(
        2.18, ROW, "back-\nbone", ha="center", va="center", size=9.5, color=theme.text
    )
    drawing.arrow((1.51, ROW), (1.74, ROW))
    drawing.arrow((2.62, ROW), (2.84, ROW))

    drawing.title(3.15, top, "embeddings")
    embeddings(drawing, 3.15, ROW, 0.33)
    drawing.caption(3.15, bottom, "x  [N, D]")
    drawing.arrow((3.46, ROW), (3.94, ROW))

    drawing.title(4.76, top, "complete graph")
    graph(drawing, 4.76, ROW, 0.68)
    drawing.caption(4.76, bottom, "every image is a node,\nlinked to all others")
    drawing.arrow((5.58, ROW), (5.86, ROW))

    drawing.title(6.5, top, "message passing")
    for level, text in enumerate(("attention", "add, norm", "MLP", "add, norm")):
        drawing.box(6.44, ROW + 0.57 - 0.38 * level, 1.1, 0.32, text)
    drawing.caption(7.14, ROW, f"{TIMES} L")
    drawing.caption(6.5, bottom, "any layer of\nPyTorch Geometric")
    drawing.arrow((7.3, ROW), (7.56, ROW))

    drawing.title(7.86, top, "refined")
    embeddings(drawing, 7.86, ROW, 0.07)
    drawing.caption(7.86, bottom, f"{REFINED}  [N, D]")
    drawing.arrow((8.17, ROW), (8.5, ROW))

    drawing.title(9.14, top, "two losses")
    drawing.box(9.14, ROW, 1.24, 0.86, f"classifier,\ncross-entropy\non {REFINED}", loss=True)
    drawing.box(9.14, LOW, 1.24, 0.86, "classifier,\ncross-entropy\non x", loss=True)
    drawing.title(9.14, (ROW + LOW) / 2, "+", size=15)
    drawing.arrow((3.15, 1.48), (3.15, LOW), (8.5, LOW))

    drawing.box(1.22, LOW, 1.98, 0.66, "descriptor  x / ‖x‖\nnearest neighbours")
    drawing.arrow((3.15, LOW), (2.24, LOW), dashed=True)
    drawing.caption(1.22, 0.34, "at test time")
    return drawing.figure


def main() -> None:
    """Write the diagram in both themes."""
    mpl.rcParams["font.family"] = "DejaVu Sans"
    for name, theme in THEMES.items():
        draw(theme).savefig(
            IMAGES / name,
            dpi=180,
            transparent=True,
            metadata={"Software": None},
            pil_kwargs={"optimize": True},
        )


if __name__ == "__main__":
    main()
