"""A tracker."""

from collections.abc import Mapping
from pathlib import Path


class CsvTracker:
    """Writes the loss of each recorded step to loss.csv in the run folder."""

    def __init__(self, run_dir: Path) -> None:
        self.file = run_dir / "loss.csv"

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Append a line."""
        if "train/loss" in values:
            with self.file.open("a", encoding="utf-8") as lines:
                lines.write(f"{step},{values['train/loss']}\n")

    def summary(self, values: Mapping[str, float]) -> None:
        """Append the final R@1, if there are test images."""
        with self.file.open("a", encoding="utf-8") as lines:
            lines.write(f"R@1,{values.get('R@1', '')}\n")
