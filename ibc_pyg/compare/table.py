"""The table of a comparison, as Markdown, CSV, JSON and HTML."""

from __future__ import annotations

import base64
import csv
import html
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt

from ibc_pyg.compare.grid import Cell
from ibc_pyg.compare.runs import METRICS
from ibc_pyg.compare.statistics import Estimate, estimate, paired_difference
from ibc_pyg.engine.files import write_atomically, write_json


@dataclass(frozen=True)
class Row:
    """One setting.

    Attributes:
        name: Of the setting.
        metrics: Mean over seeds of each metric, fractions in [0, 1].
        differences: Paired difference to the first row; empty in the first row.
        seconds: Training time, mean over seeds.
        seeds: Seeds that were run.
    """

    name: str
    metrics: Mapping[str, Estimate]
    differences: Mapping[str, Estimate]
    seconds: float
    seeds: tuple[int, ...]


@dataclass(frozen=True)
class Comparison:
    """All rows, and what they were made with.

    Attributes:
        rows: The first is what the others are compared with.
        command: The command line.
        environment: Of the process that wrote the table.
        floor: R@1 of the raw pixels, if the runs have it.
        chosen_on_test: Whether a run's epoch was chosen on the test classes.
    """

    rows: Sequence[Row]
    command: str
    environment: Mapping[str, Any]
    floor: float | None = None
    chosen_on_test: bool = False


def make_rows(results: Mapping[Cell, Sequence[Mapping[str, Any]]]) -> list[Row]:
    """Return one row a cell; metrics that a run lacks are left out."""
    reference = next(iter(results.values()))
    rows = []
    for cell, summaries in results.items():
        metrics, differences = {}, {}
        for name in METRICS:
            if not all(name in summary for summary in [*summaries, *reference]):
                continue
            values = [float(summary[name]) for summary in summaries]
            metrics[name] = estimate(values)
            if summaries is not reference:
                others = [float(summary[name]) for summary in reference]
                differences[name] = paired_difference(values, others)
        seconds = estimate([float(summary["train_seconds"]) for summary in summaries]).mean
        seeds = tuple(int(summary["seed"]) for summary in summaries)
        rows.append(Row(cell.name, metrics, differences, seconds, seeds))
    return rows


def write_tables(comparison: Comparison, out: Path) -> list[Path]:
    """Write `table.md`, `table.csv`, `table.json` and `table.html`; return their paths."""
    markdown = to_markdown(comparison)
    files = {
        "table.md": markdown,
        "table.csv": to_csv(comparison.rows),
        "table.html": _to_html(comparison),
    }
    for name, text in files.items():
        write_atomically(out / name, text.encode())
    write_json(out / "table.json", asdict(comparison))
    return [out / name for name in (*files, "table.json")]


def to_markdown(comparison: Comparison) -> str:
    """Return the table with its command and machine, in percent."""
    rows = comparison.rows
    names = list(rows[0].metrics)
    head = ["setting", *names, "R@1 against the first row", "training time"]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for row in rows:
        cells = [row.name, *(_percent(row.metrics[name]) for name in names)]
        cells.append(_percent(row.differences["R@1"], sign=True) if row.differences else "")
        cells.append(f"{row.seconds:.0f} s")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", *_notes(comparison)]) + "\n"


def _notes(comparison: Comparison) -> list[str]:
    made = comparison.environment
    seeds = ", ".join(str(seed) for seed in comparison.rows[0].seeds)
    notes = [
        f"In percent: mean over seeds {seeds} ± half of the 95 % interval (Student's t); the "
        "difference is paired by seed."
    ]
    if comparison.floor is not None:
        notes.append(f"Raw pixels, the floor: R@1 {100 * comparison.floor:.1f}.")
    if comparison.chosen_on_test:
        notes.append("The epoch was chosen on the test classes (select = test).")
    torch = made["packages"].get("torch")
    notes.append(
        f"Command: `{comparison.command}`; commit {str(made['git_commit'])[:12]}; "
        f"{made['processor']}, {made['cpu_count']} cores, torch {torch}; {made['time'][:10]}."
    )
    return notes


def to_csv(rows: Sequence[Row]) -> str:
    """Return one line a setting and metric, fractions."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        ["setting", "metric", "mean", "sd", "ci95_low", "ci95_high", "difference",
         "difference_ci95_low", "difference_ci95_high", "seeds", "train_seconds"]
    )  # fmt: skip
    for row in rows:
        for name, value in row.metrics.items():
            other = row.differences.get(name)
            difference = (other.mean, other.low, other.high) if other else ("", "", "")
            writer.writerow(
                [row.name, name, value.mean, value.sd, value.low, value.high, *difference,
                 value.count, round(row.seconds, 1)]
            )  # fmt: skip
    return text.getvalue()


def _percent(value: Estimate, *, sign: bool = False) -> str:
    mean = f"{100 * value.mean:{'+' if sign else ''}.1f}"
    return mean if value.half_width is None else f"{mean} ± {100 * value.half_width:.1f}"


def _to_html(comparison: Comparison) -> str:
    rows = []
    names = list(comparison.rows[0].metrics)
    for row in comparison.rows:
        cells = [row.name, *(_percent(row.metrics[name]) for name in names)]
        cells += [
            _percent(row.differences[name], sign=True) if row.differences else "" for name in names
        ]
        cells.append(f"{row.seconds:.0f} s")
        rows.append("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells) + "</tr>")
    head = ["setting", *names, *(f"{name}, difference" for name in names), "training time"]
    notes = "".join(f"<p>{html.escape(note)}</p>" for note in _notes(comparison))
    heads = "".join(f"<th>{html.escape(cell)}</th>" for cell in head)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width"><title>Comparison</title><style>'
        "body{font:16px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem;"
        "color-scheme:light dark}.wide{overflow-x:auto}table{border-collapse:collapse}"
        "td,th{padding:.3rem .8rem;text-align:right;border-bottom:1px solid #8884;"
        "font-variant-numeric:tabular-nums;white-space:nowrap}"
        "td:first-child,th:first-child{text-align:left}img{max-width:100%;background:#fff}"
        f"</style></head><body><h1>Comparison</h1><div class=wide><table><thead><tr>{heads}</tr>"
        f"</thead><tbody>{''.join(rows)}</tbody></table></div>"
        f'<img alt="Mean and 95 % interval of each metric and setting" src="{_plot(comparison)}">'
        f"{notes}</body></html>\n"
    )


def _plot(comparison: Comparison) -> str:
    names = list(comparison.rows[0].metrics)
    rows = comparison.rows
    figure, axes = plt.subplots(
        1, len(names), figsize=(3.2 * len(names), 1.2 + 0.4 * len(rows)), sharey=True, squeeze=False
    )
    for axis, name in zip(axes[0], names, strict=True):
        values = [row.metrics[name] for row in rows]
        axis.errorbar(
            [100 * value.mean for value in values],
            range(len(rows)),
            xerr=[100 * (value.half_width or 0.0) for value in values],
            fmt="o",
            capsize=3,
        )
        axis.set_title(name)
        axis.set_yticks(range(len(rows)), [row.name for row in rows])
        axis.grid(axis="x", alpha=0.3)
    axes[0][0].invert_yaxis()
    axes[0][0].margins(y=0.3)
    figure.supxlabel("%")
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=110, bbox_inches="tight")
    plt.close(figure)
    return "data:image/png;base64," + base64.b64encode(picture.getvalue()).decode()
