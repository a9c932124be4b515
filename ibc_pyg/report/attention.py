"""The attention of one batch as a heat map, ordered by class."""

from __future__ import annotations

import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib.colors import LinearSegmentedColormap

from ibc_pyg.report.data import AttentionMap
from ibc_pyg.report.encode import palette_uri
from ibc_pyg.report.markup import Markup, element, join, missing

MOST_LABELS = 40
CLIP_PERCENTILE = 99.5

_SHADES = np.linspace(0.0, 1.0, 256)
LIGHT = LinearSegmentedColormap.from_list(
    "light", ["#fcfbf8", "#c9dcea", "#6fa3c8", "#2a6797", "#123a5e", "#0a1d33"]
)(_SHADES)
DARK = LinearSegmentedColormap.from_list(
    "dark", ["#1a1d22", "#1f3a52", "#2f6f95", "#58a8bf", "#a8dcc9", "#fbf7d5"]
)(_SHADES)
PALETTES: dict[str, npt.NDArray[np.uint8]] = {
    name: np.round(colours[:, :3] * 255).astype(np.uint8)  # [256, 3]
    for name, colours in (("light", LIGHT), ("dark", DARK))
}


def attention_section(attention: AttentionMap | None) -> Markup:
    """Return the heat maps, or a sentence if the run has no attention."""
    if attention is None:
        return missing(
            "There is no attention to show: the run has no message-passing step (model.steps is "
            "0), or its layer has no attention weights."
        )
    heads, count = attention.weights.shape[:2]
    mean = attention.weights.mean(0)  # [N, N]
    null = None if attention.null_share is None else attention.null_share.mean(0)  # [N]
    title = f"Mean of {heads} heads" if heads > 1 else "One head"
    maps = [_map(mean, null, attention, title, "main")]
    if heads > 1:
        singles = [
            _map(
                attention.weights[head],
                None if attention.null_share is None else attention.null_share[head],
                attention,
                f"Head {head + 1}",
                "single",
            )
            for head in range(heads)
        ]
        maps.append(element("div", *singles, class_="heads"))
    inside, chance = own_class_share(attention)
    sentence = (
        f"{count} nodes of {len(attention.runs)} classes. A node gives {100 * inside:.1f} % of its "
        f"attention to its own class, itself included; uniform attention would give "
        f"{100 * chance:.1f} %."
    )
    if null is not None:
        sentence += (
            f" The null node, the narrow column, takes {100 * float(null.mean()):.1f} %; the "
            "scale is that of the nodes."
        )
    return join(element("div", *maps, class_="attention"), element("p", sentence, class_="note"))


def own_class_share(attention: AttentionMap) -> tuple[float, float]:
    """Return what a node gives to its own class on average, and what uniform attention would."""
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
        Shades `[N, N]`, shades `[N, 1]` of the null share or None, and the weight of the darkest
        shade: the 99.5th percentile of what the nodes give each other, so that neither a few strong
        links nor the null node hide the rest.
    """
    values = weights if null is None else np.concatenate([weights, null[:, None]], 1)  # [N, N + 1]
    top = max(float(np.nanpercentile(weights, CLIP_PERCENTILE)), 1e-12)
    scaled = np.round(np.clip(np.nan_to_num(values) / top, 0.0, 1.0) * 255).astype(np.uint8)
    return scaled[:, : len(weights)], None if null is None else scaled[:, len(weights) :], top


def _map(
    weights: npt.NDArray[np.float32],
    null: npt.NDArray[np.float32] | None,
    attention: AttentionMap,
    title: str,
    kind: str,
) -> Markup:
    square, column, top = shades(weights, null)
    runs = attention.runs
    parts: list[Markup] = []
    if kind == "main" and len(runs) <= MOST_LABELS:
        names = [
            element("li", element("span", name, title=name), style=f"flex:{size} 0 0")
            for name, size in runs
        ]
        parts.append(element("ol", *names, class_="classes", aria_hidden="true"))
    alt = f"{title}: attention of {len(weights)} receivers (rows) to senders (columns)"
    parts.append(
        element("div", _picture(square, alt), _boundaries(runs, len(weights)), class_="square")
    )
    if column is not None:
        parts.append(element("div", _picture(column, f"{title}: null node"), class_="null"))
    legend = element(
        "figcaption",
        element("span", title, class_="title"),
        element(
            "span",
            "0",
            element("span", class_="ramp", aria_hidden="true"),
            f"{100 * top:.2g} %",
            class_="scale",
        ),
    )
    return element("figure", legend, element("div", *parts, class_="heat"), class_=kind)


def _picture(indices: npt.NDArray[np.uint8], alt: str) -> Markup:
    """Return one picture in two palettes; the browser takes the one of its colour scheme."""
    dark = element(
        "source",
        srcset=palette_uri(indices, PALETTES["dark"]),
        media="(prefers-color-scheme: dark)",
    )
    light = element("img", src=palette_uri(indices, PALETTES["light"]), alt=alt, class_="crisp")
    return element("picture", dark, light)


def _boundaries(runs: list[tuple[str, int]], count: int) -> Markup:
    ends = np.cumsum([size for _, size in runs])[:-1]
    path = "".join(f"M{end} 0V{count}M0 {end}H{count}" for end in ends)
    return element(
        "svg",
        element("path", d=path, class_="boundary"),
        viewBox=f"0 0 {count} {count}",
        preserveAspectRatio="none",
        aria_hidden="true",
    )


def gradient(name: str) -> str:
    """Return the CSS gradient of a palette, `light` or `dark`."""
    steps = PALETTES[name][:: 255 // 5]  # [6, 3]
    colours = ", ".join(matplotlib.colors.to_hex(step / 255) for step in steps)
    return f"linear-gradient(90deg, {colours})"
