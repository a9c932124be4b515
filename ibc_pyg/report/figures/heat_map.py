"""Attention of one batch as heat maps, ordered by class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from matplotlib.colors import LinearSegmentedColormap

from ibc_pyg.report.data import AttentionMap

MOST_LABELS = 40
CLIP_PERCENTILE = 99.5

COLOURS = {
    "light": ("#fcfbf8", "#c9dcea", "#6fa3c8", "#2a6797", "#123a5e", "#0a1d33"),
    "dark": ("#1a1d22", "#1f3a52", "#2f6f95", "#58a8bf", "#a8dcc9", "#fbf7d5"),
}
"""Evenly spaced colours of each palette; `report.css` repeats them for the legend."""
PALETTES: dict[str, npt.NDArray[np.uint8]] = {
    name: np.round(
        LinearSegmentedColormap.from_list(name, colours)(np.linspace(0.0, 1.0, 256))[:, :3] * 255
    ).astype(np.uint8)  # [256, 3]
    for name, colours in COLOURS.items()
}


@dataclass(frozen=True)
class HeatMap:
    """One map.

    Attributes:
        title: Heading.
        square: `[N, N]` uint8 shades, receivers down, senders across.
        null: `[N, 1]` uint8 shades of the null node; None without one.
        top: Attention weight of the last shade.
    """

    title: str
    square: npt.NDArray[np.uint8]
    null: npt.NDArray[np.uint8] | None
    top: float


@dataclass(frozen=True)
class AttentionView:
    """Contents of the attention section.

    Attributes:
        mean: Map of the mean over heads.
        heads: Map of each head; empty if there is only one.
        names: Class name and number of nodes, for the margin; empty if there are too many.
        nodes: N.
        classes: Number of runs of equal labels.
        boundaries: SVG path of the lines between classes, in units of a node.
        own_class: Mean attention of a node to its own class.
        chance: The same under uniform attention.
        null_share: Mean attention to the null node; None without one.
    """

    mean: HeatMap
    heads: Sequence[HeatMap]
    names: Sequence[tuple[str, int]]
    nodes: int
    classes: int
    boundaries: str
    own_class: float
    chance: float
    null_share: float | None


def attention_view(attention: AttentionMap | None) -> AttentionView | None:
    """Return the attention section, or None if the run has no attention."""
    if attention is None:
        return None
    mean, *heads = heat_maps(attention)
    runs, nodes = attention.runs, len(attention.labels)
    ends = np.cumsum([size for _, size in runs])[:-1]
    own_class, chance = own_class_share(attention)
    null = attention.null_share
    return AttentionView(
        mean=mean,
        heads=heads,
        names=runs if len(runs) <= MOST_LABELS else (),
        nodes=nodes,
        classes=len(runs),
        boundaries="".join(f"M{end} 0V{nodes}M0 {end}H{nodes}" for end in ends),
        own_class=own_class,
        chance=chance,
        null_share=None if null is None else float(null.mean()),
    )


def heat_maps(attention: AttentionMap) -> list[HeatMap]:
    """Return the map of the mean over heads and, if there are several heads, one of each."""
    count = len(attention.weights)
    null = attention.null_share  # [H, N]
    title = f"Mean of {count} heads" if count > 1 else "One head"
    parts = [(title, attention.weights.mean(0), None if null is None else null.mean(0))]
    if count > 1:
        parts += [
            (f"Head {head + 1}", attention.weights[head], None if null is None else null[head])
            for head in range(count)
        ]
    return [HeatMap(title, *shades(weights, share)) for title, weights, share in parts]


def own_class_share(attention: AttentionMap) -> tuple[float, float]:
    """Return the mean attention of a node to its own class, and that of uniform attention."""
    names = np.asarray([str(label) for label in attention.labels], dtype=object)  # [N]
    same = names[:, None] == names[None, :]  # [N, N]
    slots = len(names) + (attention.null_share is not None)
    inside = (attention.weights * same).sum(-1).mean()
    return float(inside), float(same.sum(1).mean() / slots)


def shades(
    weights: npt.NDArray[np.float32], null: npt.NDArray[np.float32] | None
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8] | None, float]:
    """Scale weights `[N, N]` and null share `[N]` to 256 shades.

    Returns:
        Shades `[N, N]`, shades `[N, 1]` of the null share or None, and the weight of the last
        shade: the 99.5th percentile of the weights between nodes, so that neither a few strong
        links nor the null node hide the rest.
    """
    values = weights if null is None else np.concatenate([weights, null[:, None]], 1)  # [N, N + 1]
    top = max(float(np.nanpercentile(weights, CLIP_PERCENTILE)), 1e-12)
    scaled = np.round(np.clip(np.nan_to_num(values) / top, 0.0, 1.0) * 255).astype(np.uint8)
    return scaled[:, : len(weights)], None if null is None else scaled[:, len(weights) :], top
