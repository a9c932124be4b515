"""Curves of runs, as one CSV file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ibc_pyg.files import write_atomically
from ibc_pyg.plain_text import to_sheet
from ibc_pyg.runs.run_folder import RunFolder
from ibc_pyg.track import Record

LOSSES = 20
"""Number of loss points of a run; each is the mean over the steps since the previous point."""
SCORES = ("val/R@1", "val/MAP@R", "test/R@1", "test/MAP@R")


@dataclass(frozen=True)
class CurvePoint:
    """One point of a curve.

    Attributes:
        setting: Name of the setting.
        seed: Seed.
        step: Number of optimiser steps done.
        what: `train/loss`, or one of `SCORES`.
        value: Loss, or fraction in [0, 1].
    """

    setting: str
    seed: int
    step: int
    what: str
    value: float


def read_curves(runs: Iterable[tuple[str, int, Path]], *, losses: bool = True) -> list[CurvePoint]:
    """Return the points of all curves, run by run.

    Args:
        runs: Name of the setting, seed and run folder of each run.
        losses: Whether to return training losses in addition to scores.

    Raises:
        RunError: If a history is damaged.
    """
    curves = []
    for setting, seed, folder in runs:
        history = RunFolder(folder).read_history()
        points = _losses(history) if losses else []
        points += [
            (int(record["step"] or 0), name, value)
            for record in history
            for name in SCORES
            if (value := record.get(name)) is not None
        ]
        curves += [CurvePoint(setting, seed, *point) for point in points]
    return curves


def write_curves(points: Iterable[CurvePoint], path: Path) -> Path:
    """Write points as rows: setting, seed, step, what, value; return the path.

    Raises:
        RunError: If the file cannot be written.
    """
    rows: list[Sequence[object]] = [["setting", "seed", "step", "what", "value"]]
    rows += [
        [each.setting, each.seed, each.step, each.what, f"{each.value:.6g}"] for each in points
    ]
    write_atomically(path, to_sheet(rows).encode())
    return path


def _losses(history: Sequence[Record]) -> list[tuple[int, str, float]]:
    found = [
        (int(record["step"] or 0), loss)
        for record in history
        if (loss := record.get("train/loss")) is not None
    ]
    pieces = np.array_split(np.arange(len(found)), min(LOSSES, len(found))) if found else []
    return [
        (found[piece[-1]][0], "train/loss", float(np.mean([found[index][1] for index in piece])))
        for piece in pieces
    ]
