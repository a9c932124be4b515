"""Runs that reproduce a table: the method, its controls, and the released code's settings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ibc_pyg.compare.runs import tracked
from ibc_pyg.config.files.shipped import shipped_folder
from ibc_pyg.config.files.yaml_file import parse_config
from ibc_pyg.jobs.pool import Job
from ibc_pyg.reproduce.paper import BENCHMARKS, Benchmark

METHOD, TWIN, CROSS_ENTROPY, RELEASED = "method", "no messages", "cross-entropy", "as released"
REFINE = ("--evaluate.refine", "mpn_k_reciprocal")
"""As the released code can refine test images."""


@dataclass(frozen=True)
class Plan:
    """All runs of a table.

    Attributes:
        benchmark: The data set.
        jobs: Runs, seed by seed, so that an interrupted plan has complete seeds.
    """

    benchmark: Benchmark
    jobs: tuple[Job, ...]

    def rows(self) -> dict[str, list[Job]]:
        """Return the runs of each row, in the order of the seeds."""
        rows: dict[str, list[Job]] = {}
        for job in self.jobs:
            rows.setdefault(job.name, []).append(job)
        return rows

    def lines(self, workers: int) -> list[str]:
        """Return the plan for the user: rows, runs, estimated hours and memory."""
        left = [job for job in self.jobs if not job.finished]
        hours = self.benchmark.hours * len(left) / workers
        names = ", ".join(self.rows())
        return [
            f"{self.benchmark.title}: {names}",
            f"{len(self.jobs)} runs, {len(self.jobs) - len(left)} of them finished",
            f"estimate, not measured: {hours:.1f} hours with {workers} side by side, at 400 images "
            f"per second, and {self.benchmark.gigabytes} GB of GPU memory each",
        ]


def make_plan(
    name: str, out: Path, fields: Sequence[str], *, seeds: int, as_released: bool
) -> Plan:
    """Make the plan of a data set.

    Args:
        name: A key of `BENCHMARKS`.
        out: Folder of all runs.
        fields: Further options of all runs, as on the command line.
        seeds: Seeds 0 .. N-1 of each row.
        as_released: Whether to add the settings of the released code, whose epoch is chosen on the
            test classes.

    Raises:
        ConfigError: If a field is wrong.
    """
    experiments = shipped_folder()
    base = experiments / f"{name}.yaml"

    def layer(file: str) -> list[str]:
        return ["--config", str(experiments / file)]

    rows: dict[str, tuple[Path, list[str]]] = {
        METHOD: (base, [*REFINE]),
        TWIN: (base, [*layer("ablations/no_messages.yaml"), *REFINE]),
        CROSS_ENTROPY: (base, layer("baselines/ce.yaml")),
    }
    if as_released:
        rows[RELEASED] = (experiments / "paper" / f"{name}.yaml", [*REFINE])
    jobs = []
    for seed in range(seeds):
        for row, (experiment, own) in rows.items():
            words = [*own, *fields, "--train.seed", str(seed)]
            config = tracked(
                parse_config(experiment, words), out.name, row, name=f"{row} seed {seed}"
            )
            jobs.append(Job(row, out / row.replace(" ", "_") / f"seed-{seed}", config))
    return Plan(BENCHMARKS[name], tuple(jobs))
