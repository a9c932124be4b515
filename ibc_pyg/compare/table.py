"""Table of a comparison as Markdown, CSV, JSON, HTML and LaTeX."""

from __future__ import annotations

import base64
import io
import logging
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

from ibc_pyg.compare.figures import draw_forest, draw_means, write_figure
from ibc_pyg.compare.latex import to_latex
from ibc_pyg.compare.rows import Comparison, Row
from ibc_pyg.compare.statistics import Difference, Estimate, Spread
from ibc_pyg.files import write_atomically, write_json
from ibc_pyg.metrics.names import OWN
from ibc_pyg.plain_text import markdown_code, markdown_text, to_sheet
from ibc_pyg.report.figures.literal_text import literal_text
from ibc_pyg.report.render import render_page

_logger = logging.getLogger(__name__)

TABLES = ("md", "csv", "json", "tex", "html")
_SPREADS = {
    "ci": "half of the 95 % interval (Student's t)",
    "sd": "the standard deviation over the seeds",
    "se": "the standard error of the mean",
}


def write_tables(comparison: Comparison, out: Path) -> list[Path]:
    """Write `table` as md, csv, json, tex and html, `forest` as pdf and png; return the paths.

    A figure that cannot be drawn is left out.

    Raises:
        RunError: If a file cannot be written.
    """
    write_atomically(out / "table.md", to_markdown(comparison).encode())
    write_atomically(out / "table.csv", to_csv(comparison.rows).encode())
    write_json(out / "table.json", asdict(comparison))
    write_atomically(out / "table.tex", to_latex(comparison).encode())
    write_atomically(out / "table.html", _to_html(comparison).encode())
    figures = write_figure(lambda: draw_forest(comparison), out / "forest")
    return [*(out / f"table.{kind}" for kind in TABLES), *figures]


def to_markdown(comparison: Comparison) -> str:
    """Return the table with its command and machine, in percent."""
    rows, names = comparison.rows, comparison.metrics
    cost = _COST if _sized(comparison) else ()
    compared = comparison.has_differences
    against = [f"R@1 against {comparison.against}"] if compared else []
    head = ["setting", *names, *against, *cost, "training time"]
    lines = _markdown_lines(
        head,
        (
            [
                row.text,
                *(_value(name, row.metrics.get(name), comparison.show) for name in names),
                *([_difference("R@1", row.differences.get("R@1"))] if compared else ()),
                *(_cost_cells(row) if cost else ()),
                f"{row.seconds:.0f} s",
            ]
            for row in rows
        ),
    )
    if pairs := _pair_cells(comparison):
        lines += ["", *_markdown_lines(["paired difference", *names], pairs)]
    notes = [markdown_text(note) for note in _notes(comparison)]
    notes.append(_origin(comparison, markdown_code(comparison.command)))
    return "\n".join([*lines, "", *notes]) + "\n"


def _markdown_lines(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = ["| " + " | ".join(map(markdown_text, cells)) + " |" for cells in (head, *rows)]
    return [lines[0], "|" + "---|" * len(head), *lines[1:]]


def _pair_cells(comparison: Comparison) -> list[list[str]]:
    return [
        [
            f"{row.text} - {comparison.text_of(other)}",
            *(_difference(name, found.get(name)) for name in comparison.metrics),
        ]
        for row in comparison.rows
        for other, found in row.pairs.items()
    ]


def _notes(comparison: Comparison) -> list[str]:
    counts = {row.seeds for row in comparison.rows}
    if len(counts) == 1:
        seeds = "seeds " + ", ".join(str(seed) for seed in comparison.rows[0].seeds)
    else:
        seeds = "the finished seeds: " + ", ".join(
            f"{row.text} {len(row.seeds)}" for row in comparison.rows
        )
    compared = comparison.has_differences or any(row.pairs for row in comparison.rows)
    if all(len(row.seeds) == 1 for row in comparison.rows):
        note = "In percent, of one run for each setting: intervals and tests need more seeds."
    else:
        note = f"In percent: mean over {seeds} ± {_SPREADS[comparison.show]}"
        note += (
            "; a difference is paired by seed, with half of its 95 % interval, uncorrected, and "
            "the p-value of the paired t-test, corrected by Holm's method for all differences of "
            "the metric."
            if compared
            else "."
        )
    notes = [note]
    if any(row.multiply_adds is not None for row in comparison.rows):
        notes.append(
            "Multiply-adds: matrix products and convolutions in the forward pass of one training "
            "batch; sums over explicit edges and element-wise operations are not counted."
        )
    if comparison.floor is not None:
        notes.append(f"Raw pixels, the floor: R@1 {100 * comparison.floor:.1f}.")
    if comparison.chosen_on_test:
        notes.append("The epoch was chosen on the test classes (select = test).")
    return [*notes, *comparison.notes]


def _origin(comparison: Comparison, command: str) -> str:
    """Return the line about command and machine."""
    made = comparison.environment
    torch = made["packages"].get("torch")
    return (
        f"Command: {command}; commit {str(made['git_commit'])[:12]}; "
        f"{made['processor']}, {made['cpu_count']} cores, torch {torch}; {made['time'][:10]}."
    )


def to_csv(rows: Sequence[Row]) -> str:
    """Return one line per setting and metric, as fractions, with a column for each seed."""
    seeds = sorted({seed for row in rows for seed in row.seeds})
    lines: list[Sequence[object]] = [
        ["setting", "metric", "mean", "sd", "ci95_low", "ci95_high", "difference",
         "difference_ci95_low", "difference_ci95_high", "p", "p_holm", "seeds", "train_seconds",
         "trainable_parameters", "multiply_adds", "label", *(f"seed_{seed}" for seed in seeds)]
    ]  # fmt: skip
    for row in rows:
        for name, value in row.metrics.items():
            other = row.differences.get(name)
            difference: tuple[object, ...] = ("",) * 5
            if other is not None:
                difference = (other.mean, other.low, other.high, other.p, other.p_holm)
            of_seed = dict(zip(row.seeds, row.values[name], strict=True))
            lines.append(
                [row.name, name, value.mean, value.sd, value.low, value.high, *difference,
                 value.count, round(row.seconds, 1), row.parameters, row.multiply_adds, row.text,
                 *(of_seed.get(seed, "") for seed in seeds)]
            )  # fmt: skip
    return to_sheet(lines)


_COST = ("trainable parameters", "multiply-adds of a step")


def _sized(comparison: Comparison) -> bool:
    """Return whether the parameters of a row are known."""
    return any(row.parameters is not None for row in comparison.rows)


def _cost_cells(row: Row) -> list[str]:
    """Return the trainable parameters and the multiply-adds of a row, in millions."""
    return [
        "" if count is None else f"{count / 1e6:,.{digits}f} M"
        for count, digits in ((row.parameters, 3), (row.multiply_adds, 1))
    ]


def _value(name: str, value: Estimate | None, show: Spread, *, sign: bool = False) -> str:
    """Return a mean and what follows it: in percent, an own metric as it is."""
    if value is None:
        return ""
    scale, form = (1, ".4g") if name.startswith(OWN) else (100, ".1f")
    mean, spread = f"{scale * value.mean:{'+' if sign else ''}{form}}", value.spread(show)
    return mean if spread is None else f"{mean} ± {scale * spread:{form}}"


def _difference(name: str, value: Difference | None) -> str:
    text = _value(name, value, "ci", sign=True)
    if value is None or value.p_holm is None:
        return text
    return f"{text}, p {'< 0.001' if value.p_holm < 0.001 else f'{value.p_holm:.3f}'}"


def _to_html(comparison: Comparison) -> str:
    names, cost = comparison.metrics, _COST if _sized(comparison) else ()
    compared = names if comparison.has_differences else []
    rows = [
        [
            row.text,
            *(_value(name, row.metrics.get(name), comparison.show) for name in names),
            *(_difference(name, row.differences.get(name)) for name in compared),
            *(_cost_cells(row) if cost else ()),
            f"{row.seconds:.0f} s",
        ]
        for row in comparison.rows
    ]
    differences = [f"{name}, difference" for name in compared]
    head = ["setting", *names, *differences, *cost, "training time"]
    tables = [{"head": head, "rows": rows}]
    if pairs := _pair_cells(comparison):
        tables.append({"head": ["paired difference", *names], "rows": pairs})
    return render_page(
        "comparison.html.j2",
        f"{len(rows)} settings",
        tables=tables,
        plot=_plot_or_none(comparison),
        notes=[*_notes(comparison), _origin(comparison, comparison.command)],
    )


def _plot_or_none(comparison: Comparison) -> str | None:
    try:
        return _plot(comparison)
    except Exception as error:  # hours of training must not be lost to a picture
        _logger.warning("table.html has no plot: %s", error)
        return None


@literal_text()
def _plot(comparison: Comparison) -> str:
    """Return a PNG of all means as a data URI."""
    picture = io.BytesIO()
    draw_means(comparison).savefig(picture, format="png", dpi=110, bbox_inches="tight")
    return "data:image/png;base64," + base64.b64encode(picture.getvalue()).decode()
