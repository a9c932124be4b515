"""Run folder: configuration, environment and results of a run."""

from __future__ import annotations

import shlex
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
        "split.json",
        "environment.json",
        "metrics.jsonl",
        "summary.json",
        "model.safetensors",
        "checkpoints",
        "descriptors.safetensors",
        "skipped.json",
        "divergence.json",
        "wandb.json",
        "report.html",
    }
)
"""Names of the files of a run."""


@dataclass(frozen=True)
class RunFolder:
    """The files of one run.

    Attributes:
        path: The folder.
    """

    path: Path

    @property
    def resume_command(self) -> str:
        """The command that goes on with the run, for messages."""
        return f"python run.py train --resume {shlex.quote(str(self.path))}"

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
        """Records of training steps and evaluations, one JSON object on each line."""
        return self.path / "metrics.jsonl"

    @property
    def split(self) -> Path:
        """Images of the run with their labels and roles, JSON; see `split_record`."""
        return self.path / "split.json"

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
        """Folder of the checkpoints."""
        return self.path / "checkpoints"

    @property
    def descriptors(self) -> Path:
        """Descriptors of the gallery images, safetensors."""
        return self.path / "descriptors.safetensors"

    @property
    def skipped(self) -> Path:
        """Unreadable images and the reason of each, JSON; absent without any."""
        return self.path / "skipped.json"

    @property
    def divergence(self) -> Path:
        """The last divergence, JSON; absent without any."""
        return self.path / "divergence.json"

    @property
    def wandb(self) -> Path:
        """Identity of the run at W&B, JSON; absent if it is not tracked there."""
        return self.path / "wandb.json"

    @property
    def report(self) -> Path:
        """The report, one self-contained HTML file."""
        return self.path / "report.html"

    @classmethod
    def create(cls, path: Path, *, config_yaml: str) -> RunFolder:
        """Make the folder and write the configuration and the environment.

        Files of a training that was interrupted before its first checkpoint are replaced.

        Raises:
            RunError: If the folder holds another run, or cannot be written.
        """
        run = cls(path)
        if run._worth_keeping():
            raise RunError(
                f"{path} already holds a run; choose another --out, "
                f"or resume it: {run.resume_command}"
            )
        try:
            path.mkdir(parents=True, exist_ok=True)
            run.clear()
            run.wandb.unlink(missing_ok=True)
            # The configuration is written last: it makes the folder a run that can be resumed.
            write_json(run.environment, environment())
            write_atomically(run.config, config_yaml.encode())
        except OSError as error:
            raise RunError(f"{path} cannot be written: {error.strerror}") from error
        return run

    def clear(self) -> None:
        """Remove the results of a training that starts again; its identity at W&B is kept.

        Raises:
            OSError: If a file cannot be removed.
        """
        for left in (self.metrics, self.weights, self.divergence):
            left.unlink(missing_ok=True)

    def sweep(self) -> None:
        """Remove partial files that a kill left."""
        for name in RUN_FILES:
            for left in self.path.glob(f".{name}.*"):
                left.unlink(missing_ok=True)

    def _worth_keeping(self) -> bool:
        if self.summary.exists() or any(self.checkpoints.glob("step-*")):
            return True
        # Weights without a history were imported; with one, their training cannot be resumed.
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
        """Return the final metrics; `tested` is false in them if there were no test images.

        Raises:
            RunError: If the run has none yet, or the file is damaged.
        """
        if not self.summary.is_file():
            raise RunError(f"{self.path} is not finished; resume: {self.resume_command}")
        summary = read_json(self.summary)
        scores = () if summary.get("tested") is False else ("R@1", "queries")
        for key in (*scores, "select", "seed", "train_seconds"):
            if key not in summary:
                raise RunError(
                    f"{self.summary} is damaged: {key!r} is missing; delete it and resume: "
                    f"{self.resume_command}"
                )
        return summary

    def read_history(self) -> list[Record]:
        """Return the records of metrics.jsonl; an incomplete last line is left out.

        Raises:
            RunError: If another line is not a record; the line is named.
        """
        return read_jsonl(self.metrics) if self.metrics.is_file() else []
