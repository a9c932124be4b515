"""Table of a comparison as Markdown, CSV, JSON and HTML."""

from __future__ import annotations

import base64
import io
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

from matplotlib.figure import Figure

from ibc_pyg.compare.statistics import Estimate, estimate, paired_difference
from ibc_pyg.errors import printable
from ibc_pyg.files import write_atomically, write_json
from ibc_pyg.metrics.names import HEADLINES
from ibc_pyg.plain_text import markdown_code, markdown_text, to_sheet
from ibc_pyg.report.figures import literal_text
from ibc_pyg.report.render import render_page

_logger = logging.getLogger(__name__)

LONGEST = 60
"""Most characters of a setting's name in the plot."""


class Named(Protocol):
    """Something with a name: the setting that a row is about."""

    @property
    def name(self) -> str:
        """Name of the row."""


Setting = TypeVar("Setting", bound=Named)


@dataclass(frozen=True)
class Row:
    """One setting.

    Attributes:
        name: Name of the setting.
        metrics: Mean over seeds of each metric, fractions in [0, 1].
        differences: Paired differences to the reference, over the seeds that both have; empty in
            the row of the reference.
        seconds: Training time, mean over seeds.
        seeds: Finished seeds.
        pairs: The same differences to further rows, by their names.
        parameters: Trainable parameters; None for runs of an earlier version.
        multiply_adds: Of the forward pass of one training batch; None where they are unknown.
    """

    name: str
    metrics: Mapping[str, Estimate]
    differences: Mapping[str, Estimate]
    seconds: float
    seeds: tuple[int, ...]
    pairs: Mapping[str, Mapping[str, Estimate]] = field(default_factory=dict)
    parameters: int | None = None
    multiply_adds: int | None = None


@dataclass(frozen=True)
class Comparison:
    """All rows, with the command and the machine.

    Attributes:
        rows: One per setting.
        command: The command line.
        environment: Environment of the process that wrote the table.
        floor: R@1 of the raw pixels, if the runs have it.
        chosen_on_test: Whether a run's epoch was chosen on the test classes.
        reference: Name of the row that the others are compared with; None means the first.
        notes: Further lines below the table.
    """

    rows: Sequence[Row]
    command: str
    environment: Mapping[str, Any]
    floor: float | None = None
    chosen_on_test: bool = False
    reference: str | None = None
    notes: Sequence[str] = ()

    @property
    def metrics(self) -> list[str]:
        """Headline metrics that at least one row has."""
        return [name for name in HEADLINES if any(name in row.metrics for row in self.rows)]


def make_rows(
    results: Mapping[Setting, Sequence[Mapping[str, Any]]],
    *,
    reference: str | None = None,
    pairs: Iterable[tuple[str, str]] = (),
) -> list[Row]:
    """Return one row per setting; metrics that a run lacks are left out.

    Args:
        results: Setting to the summaries of its runs.
        reference: Name of the row that the others are compared with; None takes the first.
        pairs: Pairs of names; the first row of each is also compared with the second.
    """
    by_name: dict[str, Sequence[Mapping[str, Any]]] = {
        setting.name: summaries for setting, summaries in results.items()
    }
    reference = next(iter(by_name)) if reference is None else reference
    rows = []
    for name, summaries in by_name.items():
        metrics = {
            metric: estimate([float(summary[metric]) for summary in summaries])
            for metric in HEADLINES
            if all(metric in summary for summary in summaries)
        }
        others = [other for first, other in pairs if first == name and other in by_name]
        cost: Mapping[str, Any] = next(
            (summary["cost"] for summary in summaries if summary.get("cost")), {}
        )
        rows.append(
            Row(
                name,
                metrics,
                {} if name == reference else _differences(summaries, by_name.get(reference, ())),
                estimate([float(summary["train_seconds"]) for summary in summaries]).mean,
                tuple(int(summary["seed"]) for summary in summaries),
                {other: _differences(summaries, by_name[other]) for other in others},
                cost.get("trainable_parameters"),
                cost.get("multiply_adds"),
            )
        )
    return rows


def _differences(
    summaries: Sequence[Mapping[str, Any]], others: Sequence[Mapping[str, Any]]
) -> dict[str, Estimate]:
    of_seed = {summary["seed"]: summary for summary in others}
    both = [(mine, of_seed[mine["seed"]]) for mine in summaries if mine["seed"] in of_seed]
    return {
        metric: paired_difference(
            [float(mine[metric]) for mine, _ in both], [float(other[metric]) for _, other in both]
        )
        for metric in HEADLINES
        if both and all(metric in summary for pair in both for summary in pair)
    }


def write_tables(comparison: Comparison, out: Path) -> list[Path]:
    """Write `table.md`, `table.csv`, `table.json` and `table.html`, and return their paths.

    The page comes last: without its plot, if that cannot be drawn.

    Raises:
        RunError: If a file cannot be written.
    """
    write_atomically(out / "table.md", to_markdown(comparison).encode())
    write_atomically(out / "table.csv", to_csv(comparison.rows).encode())
    write_json(out / "table.json", asdict(comparison))
    write_atomically(out / "table.html", _to_html(comparison).encode())
    return [out / f"table.{kind}" for kind in ("md", "csv", "json", "html")]


def to_markdown(comparison: Comparison) -> str:
    """Return the table with its command and machine, in percent."""
    rows, names = comparison.rows, comparison.metrics
    against = "the first row" if comparison.reference is None else comparison.reference
    head = ["setting", *names, f"R@1 against {against}", *_COST, "training time"]
    lines = _markdown_lines(
        head,
        (
            [
                row.name,
                *(_percent(row.metrics.get(name)) for name in names),
                _percent(row.differences.get("R@1"), sign=True),
                *_cost_cells(row),
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
            f"{row.name} - {other}",
            *(_percent(found.get(name), sign=True) for name in comparison.metrics),
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
            f"{row.name} {len(row.seeds)}" for row in comparison.rows
        )
    notes = [
        f"In percent: mean over {seeds} ± half of the 95 % interval (Student's t); the "
        "difference is paired by seed."
    ]
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
    """Return one line per setting and metric, as fractions."""
    lines: list[Sequence[object]] = [
        ["setting", "metric", "mean", "sd", "ci95_low", "ci95_high", "difference",
         "difference_ci95_low", "difference_ci95_high", "seeds", "train_seconds",
         "trainable_parameters", "multiply_adds"]
    ]  # fmt: skip
    for row in rows:
        for name, value in row.metrics.items():
            other = row.differences.get(name)
            difference = (other.mean, other.low, other.high) if other else ("", "", "")
            lines.append(
                [row.name, name, value.mean, value.sd, value.low, value.high, *difference,
                 value.count, round(row.seconds, 1), row.parameters, row.multiply_adds]
            )  # fmt: skip
    return to_sheet(lines)


_COST = ("trainable parameters", "multiply-adds of a step")


def _cost_cells(row: Row) -> list[str]:
    """Return the trainable parameters and the multiply-adds of a row, in millions."""
    return [
        "" if count is None else f"{count / 1e6:,.{digits}f} M"
        for count, digits in ((row.parameters, 3), (row.multiply_adds, 1))
    ]


def _percent(value: Estimate | None, *, sign: bool = False) -> str:
    if value is None:
        return ""
    mean = f"{100 * value.mean:{'+' if sign else ''}.1f}"
    return mean if value.half_width is None else f"{mean} ± {100 * value.half_width:.1f}"


def _to_html(comparison: Comparison) -> str:
    names = comparison.metrics
    rows = [
        [
            row.name,
            *(_percent(row.metrics.get(name)) for name in names),
            *(_percent(row.differences.get(name), sign=True) for name in names),
            *_cost_cells(row),
            f"{row.seconds:.0f} s",
        ]
        for row in comparison.rows
    ]
    differences = [f"{name}, difference" for name in names]
    head = ["setting", *names, *differences, *_COST, "training time"]
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
    """Return a PNG of all means with their intervals, as a data URI."""
    names, rows = comparison.metrics, comparison.rows
    figure = Figure((3.2 * len(names), 1.2 + 0.4 * len(rows)))
    axes = figure.subplots(1, len(names), sharey=True, squeeze=False)[0]
    for axis, name in zip(axes, names, strict=True):
        placed = [(at, row.metrics[name]) for at, row in enumerate(rows) if name in row.metrics]
        axis.errorbar(
            [100 * value.mean for _, value in placed],
            [at for at, _ in placed],
            xerr=[100 * (value.half_width or 0.0) for _, value in placed],
            fmt="o",
            capsize=3,
        )
        axis.set_title(name)
        axis.set_yticks(range(len(rows)), [printable(row.name)[:LONGEST] for row in rows])
        axis.grid(axis="x", alpha=0.3)
    axes[0].set_ylim(len(rows) - 0.5, -0.5)
    figure.supxlabel("%")
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=110, bbox_inches="tight")
    return "data:image/png;base64," + base64.b64encode(picture.getvalue()).decode()
