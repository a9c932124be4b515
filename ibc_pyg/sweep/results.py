"""Result table of a sweep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ibc_pyg.compare.rows import Comparison, make_rows
from ibc_pyg.compare.runs import scores_of
from ibc_pyg.compare.statistics import Spread
from ibc_pyg.jobs.pool import Job
from ibc_pyg.runs.environment import command_line, environment
from ibc_pyg.runs.run_folder import RunFolder
from ibc_pyg.sweep.plan import Control, Plan, text
from ibc_pyg.sweep.trials import Trial


def make_comparison(
    plan: Plan,
    best: Mapping[str, Trial],
    finals: Mapping[str, Sequence[Job]],
    *,
    reference: str | None,
    pairs: Sequence[tuple[str, str]] = (),
    labels: Mapping[str, str] | None = None,
    show: Spread = "ci",
) -> Comparison | None:
    """Return the table of finished runs; None without any.

    Args:
        plan: The sweep.
        best: Winner of each method.
        finals: Runs of each row.
        reference: Row that the others are compared with; None takes the first.
        pairs: Further pairs of rows to compare; each control is compared with its method.
        labels: Texts shown for rows, by their names.
        show: See `Comparison`.
    """
    rows = {row.name: row for row in plan.rows}
    results = {}
    for name, jobs in finals.items():
        summaries = [scores_of(RunFolder(job.path)) for job in jobs if job.finished]
        if summaries:
            results[rows[name]] = summaries
    if not results:
        return None
    controls = [(control.name, control.method) for control in plan.controls]
    first = next(iter(summary for found in results.values() for summary in found))
    return Comparison(
        make_rows(
            results,
            reference=reference or plan.methods[0].name,
            pairs=[*controls, *pairs],
            labels=labels,
        ),
        command_line(),
        environment(),
        floor=first.get("raw_pixels", {}).get("R@1"),
        reference=reference or plan.methods[0].name,
        notes=_notes(plan, best, [row.name for row in results]),
        show=show,
    )


def _notes(plan: Plan, best: Mapping[str, Trial], shown: Sequence[str]) -> list[str]:
    sweep = plan.sweep
    space = ", ".join(each.name for each in sweep.parameters)
    notes = [
        f"Each method: {len(plan.values)} {sweep.method} trials of {space} ({sweep.path}, seed "
        f"{plan.seed}, the same values for every method), selected by {sweep.metric} on held-out "
        "training classes; the winner is trained on all training classes with fresh seeds, and its "
        "last epoch is evaluated.",
    ]
    for method in plan.methods:
        if (trial := best.get(method.name)) is not None:
            values = ", ".join(f"{name} {_short(value)}" for name, value in trial.values.items())
            notes.append(f"- {method.name}: trial {trial.number}, {values}")
    for row in plan.rows:
        if isinstance(row, Control) and row.name in shown:
            changed = ", ".join(f"{name} = {value}" for name, value in row.values)
            notes.append(f"- {row.name}: the values of {row.method}, except {changed}")
    missing = [row.name for row in plan.rows if row.name not in shown]
    if missing:
        notes.append(f"Not finished: {', '.join(missing)}.")
    # A Markdown list ends with an empty line.
    return [notes[0], "", *notes[1:], ""]


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else text(value)
