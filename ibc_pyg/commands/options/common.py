"""Helpers of several commands."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from ibc_pyg.console import info, table
from ibc_pyg.data.splits import NOT_TESTED
from ibc_pyg.metrics.names import metric_names
from ibc_pyg.parallel.launch import Launch

if TYPE_CHECKING:
    from ibc_pyg.runs.run_folder import RunFolder

CHOSEN_ON_TEST = "Note: the epoch was chosen on the test classes (select = test)."


def console() -> Console:
    """Return the console for the results of commands."""
    quiet = Launch.from_environment().rank > 0  # only the main process prints
    return Console(highlight=False, soft_wrap=True, markup=False, emoji=False, quiet=quiet)


def default_out(name: str) -> Path:
    """Return the folder of a new run, named by experiment and local time."""
    return Path("runs") / f"{name}-{datetime.now().strftime('%Y%m%d-%H%M%S')}"


def metric_row(name: str, metrics: Mapping[str, Any]) -> dict[str, float | str | None]:
    """Return the row of a table: R@K by ascending K, then the other metrics."""
    return {"": name} | {
        key: metrics[key] for key in metric_names(metrics) if isinstance(metrics[key], float)
    }


def print_summary(run: RunFolder, out: Console) -> None:
    """Print the metrics of a finished run and the path of its report."""
    summary = run.read_summary()
    if summary.get("tested") is False:
        info(out, f"Trained for {summary['epoch']:.0f} epochs; {NOT_TESTED}.")
    else:
        _print_scores(summary, out)
    if summary.get("retrained"):
        info(out, f"Retrained on all training classes for {summary['epoch']:.0f} epochs.")
    if "extended_from" in summary:
        info(
            out,
            f"Extended: the first {summary['extended_at_epoch']} epochs are those of "
            f"{summary['extended_from']}.",
        )
    if summary["select"] == "test":
        info(out, CHOSEN_ON_TEST)
    if run.report.is_file():
        info(out, f"report: {run.report}")


def _print_scores(summary: Mapping[str, Any], out: Console) -> None:
    rows = []
    if "raw_pixels" in summary:
        rows.append(metric_row("raw pixels (floor)", summary["raw_pixels"]))
    rows.append(metric_row("this run", summary))
    if "refined" in summary:
        refined = summary["refined"]
        name = f"this run [refine {refined['refine']} {refined['refine_size']}]"
        rows.append(metric_row(name, refined))
    table(rows, console=out, title=f"{summary['queries']:.0f} test images of unseen classes")


def finish(work: Callable[[], RunFolder], out: Console) -> int:
    """Train a run, print its summary, and return the exit code."""
    from ibc_pyg.parallel.processes import close_process_group
    from ibc_pyg.training.faults.interrupt import TrainingInterrupted

    try:
        print_summary(work(), out)
    except TrainingInterrupted:
        return 130
    close_process_group()
    return 0
