"""Draw recorded results: layers against N, retrieval against N, differences with intervals.

    python docs/diagrams/results.py

reads benchmarks/results/ and experiments/results/, and writes docs/images/layers_by_size.png,
retrieval_by_size.png and forest.png.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

ROOT = Path(__file__).resolve().parents[2]
IMAGES = ROOT / "docs" / "images"
BENCHMARKS = ROOT / "benchmarks" / "results"
TABLES = ROOT / "experiments" / "results"

LAYERS = {
    "floor": ("products and softmax alone: the floor", "#8a94a0", ":"),
    "IntraBatchConv dense": ("ibc_pyg, dense", "#c2304a", "-"),
    "torch MultiheadAttention": ("torch MultiheadAttention", "#3f7fdb", "--"),
    "IntraBatchConv sparse": ("ibc_pyg, by message passing", "#e08426", "-"),
    "PyG TransformerConv": ("PyG TransformerConv", "#27a07c", "-"),
}
"""Layers of the benchmark that are shown: label, colour, line."""
CANDIDATES = {
    "product": ("a bare matrix product: the floor", "#8a94a0", ":"),
    "ours": ("ibc_pyg", "#c2304a", "-"),
    "pml": ("pytorch-metric-learning", "#3f7fdb", "--"),
    "oml": ("open-metric-learning", "#27a07c", "-"),
}
"""Candidates of the retrieval benchmark that are shown."""
SETS = {
    "omniglot_baselines": "Omniglot",
    "glyphs_baselines": "Glyphs",
    "grocery_store_baselines": "GroceryStore",
}
"""Tables of the forest plot."""


@dataclass(frozen=True)
class Difference:
    """Difference of two rows of a table, in points of R@1.

    Attributes:
        name: The method.
        mean: Mean over seeds.
        half_width: Half of its 95 % interval.
    """

    name: str
    mean: float
    half_width: float


def layer_lines() -> dict[str, list[tuple[int, float]]]:
    """Return (N, milliseconds forward and backward) of each layer, sorted by N."""
    found: dict[str, dict[int, float]] = {name: {} for name in LAYERS}
    for file in ("layers_dense.json", "layers.json"):  # the second measures what both have
        for result in _read(BENCHMARKS / file)["results"]:
            if result["layer"] in found and result.get("forward_backward") is not None:
                found[result["layer"]][result["nodes"]] = 1000 * result["forward_backward"]
    return {name: sorted(points.items()) for name, points in found.items()}


def retrieval_lines() -> dict[str, list[tuple[int, float]]]:
    """Return (N, seconds of all metrics) of each candidate, sorted by N."""
    found: dict[str, dict[int, float]] = {name: {} for name in CANDIDATES}
    for file in ("retrieval.json", "retrieval_sop.json"):
        for result in _read(BENCHMARKS / file)["results"]:
            size = result["case"].replace(",", "")
            if size.isdigit() and result["candidate"] in found and result["seconds"] is not None:
                found[result["candidate"]][int(size)] = result["seconds"]
    return {name: sorted(points.items()) for name, points in found.items()}


def differences(table: str, suffix: str) -> list[Difference]:
    """Return the differences in R@1 of the methods with the graph.

    Args:
        table: Name of a folder in experiments/results/.
        suffix: What the row to compare with is called beside the method's: `` for the loss
            alone, `, no messages` for the control.
    """
    rows = {row["name"]: row for row in _read(TABLES / table / "table.json")["rows"]}
    found = []
    for name in rows:
        method = name.removesuffix("_graph")
        other = f"{name}{suffix}" if suffix else method
        if not name.endswith("_graph") or other not in rows:
            continue
        scores = rows[name]["pairs"].get(other)
        sign = 1
        if scores is None:  # recorded from the side of the other row
            scores, sign = rows[other]["pairs"].get(name), -1
        if scores is not None:
            score = scores["R@1"]
            found.append(Difference(method, 100 * sign * score["mean"], 100 * score["half_width"]))
    return found


def draw_layers() -> Figure:
    """Draw the time of a layer against the number of images in the batch."""
    figure, axes = _figure()
    _lines(axes, layer_lines(), LAYERS)
    axes.set(xlabel="images in the batch, N", ylabel="forward and backward, ms")
    settings = _read(BENCHMARKS / "layers.json")["settings"]
    axes.set_title(
        f"One layer on the complete graph, {settings['channels']} channels, "
        f"{settings['threads']} CPU thread",
        size=10,
    )
    return figure


def draw_retrieval() -> Figure:
    """Draw the time of all retrieval metrics against the number of images."""
    figure, axes = _figure()
    _lines(axes, retrieval_lines(), CANDIDATES)
    axes.set(xlabel="test images, N", ylabel="seconds")
    axes.set_title("R@K, MAP@R and R-precision, 512 dimensions, 2 CPU threads", size=10)
    return figure


def draw_forest() -> Figure:
    """Draw what the graph adds, and what its messages add, for each loss and data set."""
    columns = (("", "graph against none"), (", no messages", "messages against none"))
    heights = [max(len(differences(table, end)) for end, _ in columns) for table in SETS]
    figure = Figure(figsize=(8, 0.34 * sum(heights) + 2), layout="constrained")
    panels = figure.subplots(
        len(SETS), len(columns), squeeze=False, sharey="row", height_ratios=heights
    )
    for line, (table, title) in enumerate(SETS.items()):
        for column, (end, question) in enumerate(columns):
            axes: Axes = panels[line][column]
            found = differences(table, end)
            places = range(len(found))
            axes.axvline(0, color="#8a94a0", linewidth=1)
            axes.errorbar(
                [each.mean for each in found], places, xerr=[each.half_width for each in found],
                fmt="o", color="#c2304a", markersize=4, capsize=2, linewidth=1.2,
            )  # fmt: skip
            axes.set_yticks(places, [each.name.replace("_", " ") for each in found], size=8)
            axes.set_ylim(len(found) - 0.5, -0.5)
            axes.tick_params(axis="x", labelsize=8)
            axes.set_title(f"{title}: {question}" if line == 0 else title, size=9, loc="left")
    figure.supxlabel("difference in R@1, points; paired 95 % interval over 5 seeds", size=9)
    return figure


def _figure() -> tuple[Figure, Axes]:
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    return figure, figure.subplots()


def _lines(
    axes: Axes,
    lines: dict[str, list[tuple[int, float]]],
    shown: dict[str, tuple[str, str, str]],
) -> None:
    for name, (label, colour, style) in shown.items():
        sizes, values = zip(*lines[name], strict=True)
        axes.plot(sizes, values, style, marker="o", markersize=4, color=colour, label=label)
    axes.set(xscale="log", yscale="log")
    sizes = sorted({size for points in lines.values() for size, _ in points})
    axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
    axes.set_xticks([], minor=True)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, frameon=False)


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def main() -> None:
    """Write all pictures."""
    mpl.rcParams["font.family"] = "DejaVu Sans"
    drawn = {
        "layers_by_size": draw_layers,
        "retrieval_by_size": draw_retrieval,
        "forest": draw_forest,
    }
    for name, draw in drawn.items():
        draw().savefig(IMAGES / f"{name}.png", dpi=150, metadata={"Software": None})


if __name__ == "__main__":
    main()
