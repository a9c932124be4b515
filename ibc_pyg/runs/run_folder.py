"""A run is a folder: what was asked for, with what, what came out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ibc_pyg.errors import RunError
from ibc_pyg.files import read_json, write_atomically, write_json
from ibc_pyg.runs.environment import environment
from ibc_pyg.track import Record, read_jsonl

RUN_FILES = frozenset(
    {
        "config.yaml",
        "environment.json",
        "metrics.jsonl",
        "summary.json",
        "model.safetensors",
        "checkpoints",
        "split.json",
        "descriptors.safetensors",
        "skipped.json",
        "divergence.json",
        "wandb.json",
        "report.html",
    }
)
"""Names that a run's own files have."""


@dataclass(frozen=True)
class RunFolder:
    """The files of one run.

    Attributes:
        path: The folder.
    """

    path: Path

    @property
    def config(self) -> Path:
        """The full resolved experiment, YAML."""
        return self.path / "config.yaml"

    @property
    def environment(self) -> Path:
        """Versions, machine, git commit and command, JSON."""
        return self.path / "environment.json"

    @property
    def metrics(self) -> Path:
        """One JSON record a line: a training step or an evaluation."""
        return self.path / "metrics.jsonl"

    @property
    def summary(self) -> Path:
        """The final metrics, JSON, fractions in [0, 1]."""
        return self.path / "summary.json"

    @property
    def weights(self) -> Path:
        """The selected weights of the whole model, safetensors."""
        return self.path / "model.safetensors"

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints that training resumes from."""
        return self.path / "checkpoints"

    @property
    def split(self) -> Path:
        """The images of the run with their labels and roles, JSON; see `split_record`."""
        return self.path / "split.json"

    @property
    def descriptors(self) -> Path:
        """Descriptors of the images that are searched, safetensors."""
        return self.path / "descriptors.safetensors"

    @property
    def skipped(self) -> Path:
        """Images that could not be read, and why each, JSON; only if there were any."""
        return self.path / "skipped.json"

    @property
    def divergence(self) -> Path:
        """The step at which training last left the finite numbers, JSON; only if it did."""
        return self.path / "divergence.json"

    @property
    def wandb(self) -> Path:
        """Identity of the run at W&B, JSON; only if it is tracked there."""
        return self.path / "wandb.json"

    @property
    def report(self) -> Path:
        """The report, one self-contained HTML file."""
        return self.path / "report.html"

    @classmethod
    def create(cls, path: Path, *, config_yaml: str) -> RunFolder:
        """Make the folder and write the configuration and the environment.

        What a training left that was cut before its first checkpoint is written over.

        Raises:
            RunError: If the folder holds another run, or cannot be written.
        """
        run = cls(path)
        if run._worth_keeping():
            raise RunError(
                f"{path} already holds a run; choose another --out, "
                f"or go on with it: train --resume {path}"
            )
        try:
            path.mkdir(parents=True, exist_ok=True)
            run.clear()
            run.wandb.unlink(missing_ok=True)
            # The configuration comes last: with it the folder is a run, which can be resumed.
            write_json(run.environment, environment())
            write_atomically(run.config, config_yaml.encode())
        except OSError as error:
            raise RunError(f"{path} cannot be written: {error.strerror}") from error
        return run

    def clear(self) -> None:
        """Remove what a training left that begins anew; its identity at W&B stays.

        Raises:
            OSError: If something cannot be removed.
        """
        for left in (self.metrics, self.weights, self.divergence):
            left.unlink(missing_ok=True)

    def sweep(self) -> None:
        """Remove what a kill left of files that were being written."""
        for name in RUN_FILES:
            for left in self.path.glob(f".{name}.*"):
                left.unlink(missing_ok=True)

    def _worth_keeping(self) -> bool:
        if self.summary.exists() or any(self.checkpoints.glob("step-*")):
            return True
        # Weights without a history were imported; with one, of a training that cannot go on.
        return self.weights.exists() and not self.metrics.exists()

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """Open an existing run.

        Raises:
            RunError: If the folder is not a run.
        """
        if not path.is_dir():
            raise RunError(f"{path} is not a folder; give the folder of a run")
        run = cls(path)
        if not run.config.is_file():
            raise RunError(f"{path} is not a run folder: it has no config.yaml")
        return run

    def read_summary(self) -> dict[str, Any]:
        """Return the final metrics.

        Raises:
            RunError: If the run has none yet, or the file is damaged.
        """
        if not self.summary.is_file():
            raise RunError(
                f"{self.path} is not finished; go on: python run.py train --resume {self.path}"
            )
        summary = read_json(self.summary)
        for key in ("R@1", "queries", "select", "seed", "train_seconds"):
            if key not in summary:
                raise RunError(
                    f"{self.summary} is damaged: it has no {key!r}; delete it and go on: "
                    f"python run.py train --resume {self.path}"
                )
        return summary

    def read_history(self) -> list[Record]:
        """Return the records of metrics.jsonl; a last line that was cut short is left out.

        Raises:
            RunError: If another line is no record; it is named.
        """
        return read_jsonl(self.metrics) if self.metrics.is_file() else []
