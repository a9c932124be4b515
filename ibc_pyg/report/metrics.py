"""The headline figures beside their floor, and the table of all metrics."""

from __future__ import annotations

import math
from collections.abc import Mapping

from ibc_pyg.report.data import ReportData
from ibc_pyg.report.markup import Markup, element, join, missing

HEADLINES = ("R@1", "MAP@R", "RP", "NMI")
MEANINGS = {
    "R@1": "Nearest image is of the same class",
    "MAP@R": "Ranking of the whole class",
    "RP": "Right ones among the R nearest",
    "NMI": "Clusters against classes",
}


def metrics_section(data: ReportData) -> Markup:
    """Return the headline figures and the table, or a sentence if there is no metric."""
    finite = {name: value for name, value in data.summary.items() if math.isfinite(value)}
    if not finite:
        return missing("The run was not evaluated, so there are no metrics.")
    chosen = [name for name in HEADLINES if name in finite] or list(finite)[:4]
    floor_name, floor = next(iter(data.comparisons.items()), ("", {}))
    tiles = [_tile(name, finite[name], floor_name, floor.get(name)) for name in chosen]
    return join(element("div", *tiles, class_="tiles"), _table(data, list(finite)))


def figure(value: float | None) -> str:
    """Return a fraction in [0, 1] in per cent with one digit, anything else with four digits."""
    if value is None or not math.isfinite(value):
        return "–"  # noqa: RUF001, an en dash stands for a missing figure
    return f"{100 * value:.1f}" if 0 <= value <= 1 else f"{value:.4g}"


def _tile(name: str, value: float, floor_name: str, floor: float | None) -> Markup:
    is_share = 0 <= value <= 1
    meter: list[Markup] = []
    if is_share:
        marks = [element("span", class_="fill", style=f"width:{100 * value:.1f}%")]
        if floor is not None and 0 <= floor <= 1:
            marks.append(element("span", class_="floor", style=f"left:{100 * floor:.1f}%"))
        meter = [element("div", *marks, class_="meter", aria_hidden="true")]
    lines: list[Markup] = []
    if floor is not None:
        lines.append(element("p", f"{floor_name}: {figure(floor)}", class_="beside"))
    if name in MEANINGS:
        lines.append(element("p", MEANINGS[name], class_="meaning"))
    unit = element("span", "%", class_="unit") if is_share else Markup("")
    return element(
        "div",
        element("h3", name),
        element("p", figure(value), unit, class_="value"),
        *meter,
        *lines,
        class_="tile",
    )


def _table(data: ReportData, names: list[str]) -> Markup:
    head = element(
        "tr",
        element("td"),
        *(element("th", name, scope="col") for name in names),
    )
    rows: dict[str, Mapping[str, float]] = {"this run": data.summary, **data.comparisons}
    body = [
        element(
            "tr",
            element("th", label, scope="row"),
            *(element("td", figure(values.get(name))) for name in names),
        )
        for label, values in rows.items()
    ]
    table = element("table", element("thead", head), element("tbody", *body))
    return element("div", table, class_="scroll", tabindex="0", role="region", aria_label="Metrics")
