"""The paper's table with the figures of finished runs beside it."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from ibc_pyg.compare.statistics import estimate
from ibc_pyg.jobs.pool import Job
from ibc_pyg.reproduce.plan import RELEASED, Plan
from ibc_pyg.runs.run_folder import RunFolder


def to_markdown(plan: Plan, *, images: int, fields: Sequence[str] = ()) -> str:
    """Return the table in percent: mean and half of the 95 % interval over finished seeds.

    Args:
        plan: The runs.
        images: Images of the data set that were found; fewer than all are named below the table.
        fields: Options that were given for all runs, which are named below the table.

    Raises:
        RunError: If a summary is damaged.
    """
    names = list(plan.benchmark.figures)
    published = [f"{value:.1f}" for value in plan.benchmark.figures.values()]
    lines = [
        f"{plan.benchmark.title}, percent; ± is half of the 95 % interval (Student's t).",
        "",
        "| | seeds | " + " | ".join(names) + " |",
        "|---|---:|" + "---:|" * len(names),
        "| paper | - | " + " | ".join(published) + " |",
    ]
    for row, jobs in plan.rows().items():
        done = [job for job in jobs if job.finished]
        for refined in (False, True):
            cells = [_cell(done, name, refined=refined) for name in names]
            if refined and not any(cells):
                continue
            label = f"{row}, refined" if refined else row
            shown = " | ".join(cell or "-" for cell in cells)
            lines.append(f"| {label} | {len(done)} | {shown} |")
    note = "The paper's figures are of the best epoch on the test classes"
    note += f', as are those of "{RELEASED}"' if RELEASED in plan.rows() else ""
    notes = [f"{note}; the other rows choose it on training classes."]
    if images < plan.benchmark.images:
        notes.append(
            f"{images:,} of {plan.benchmark.images:,} images: not comparable with the paper."
        )
    if fields:
        notes.append(f"All rows with `{shlex.join(fields)}`.")
    return "\n".join([*lines, "", "\n\n".join(notes)]) + "\n"


def _cell(jobs: Sequence[Job], name: str, *, refined: bool) -> str:
    values = []
    for job in jobs:
        summary = RunFolder(job.path).read_summary()
        scores = summary.get("refined", {}) if refined else summary
        if name in scores:
            values.append(100 * float(scores[name]))
    if not values:
        return ""
    found = estimate(values)
    half = "" if found.half_width is None else f" ± {found.half_width:.1f}"
    return f"{found.mean:.1f}{half}"
