"""Tables and figures of the results of a comparison."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ibc_pyg.compare.curves import read_curves, write_curves
from ibc_pyg.compare.figures import draw_curves, write_figure
from ibc_pyg.compare.rows import Comparison, Setting, make_rows
from ibc_pyg.compare.statistics import Spread
from ibc_pyg.compare.table import write_tables
from ibc_pyg.runs.environment import command_line, environment


@dataclass(frozen=True)
class TableOptions:
    """Options of a table.

    Attributes:
        show: See `Comparison`.
        reference: Row that the others are compared with; None takes the first.
        labels: Texts shown for rows, by their names.
    """

    show: Spread = "ci"
    reference: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)


def compare_results(
    results: Mapping[Setting, Sequence[Mapping[str, Any]]], options: TableOptions
) -> Comparison:
    """Return the table of the summaries of each setting."""
    summaries = [summary for found in results.values() for summary in found]
    return Comparison(
        make_rows(results, reference=options.reference, labels=options.labels),
        command_line(),
        environment(),
        floor=summaries[0].get("raw_pixels", {}).get("R@1"),
        chosen_on_test=any(summary["select"] == "test" for summary in summaries),
        reference=options.reference,
        show=options.show,
    )


def write_results(
    comparison: Comparison, runs: Iterable[tuple[str, int, Path]], out: Path, options: TableOptions
) -> list[Path]:
    """Write the tables, the curves and the figures of a comparison; return the paths.

    Args:
        comparison: The table.
        runs: Name of the setting, seed and run folder of each run.
        out: Folder of the files.
        options: Options of the table.

    Raises:
        RunError: If a history is damaged, or a file cannot be written.
    """
    points = read_curves(runs)
    return [
        *write_tables(comparison, out),
        write_curves(points, out / "curves.csv"),
        *write_figure(lambda: draw_curves(points, options.labels), out / "curves"),
    ]
