"""Run folder: configuration, environment and results of a run."""

from __future__ import annotations

import shlex
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ibc_pyg.errors import RunError, printable, program
from ibc_pyg.files import read_json, refuse_link, write_atomically, write_json
from ibc_pyg.runs.environment import environment
from ibc_pyg.runs.source_record import CODE, CODE_RECORD, record_sources
from ibc_pyg.track import Record, read_jsonl

LOCK = ".lock"
HOLDER = ".lock.json"
"""The lock of a folder that a process works in, and the name of that process; see `run_lock`."""

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
        CODE,
        CODE_RECORD,
        LOCK,
        HOLDER,
    }
)
"""Names of the files of a run."""

_OTHERS = frozenset({"failed.json", "wandb"})
"""Names that a sweep and the library of W&B add to a run."""

REFINER = "refiner.safetensors"
"""File of the trained refiner of a run."""
_LATER = frozenset({"failed.json", "model.onnx", "model.pt2", "query.png", REFINER})
"""Names of files that commands add to a finished run."""

_FOLDERS = frozenset({"checkpoints", CODE, "published", "timm"})
"""Names of folders of a run, those of `export` included."""


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
        # It executes the copies of plugged files in the folder.
        trust = " --trust-code" if (self.path / CODE).is_dir() else ""
        return f"{program()} train --resume {shlex.quote(str(self.path))}{trust}"

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
    def create(cls, path: Path, *, config_yaml: str, code: Collection[str] = ()) -> RunFolder:
        """Make the folder and write the configuration, the environment and the plugged code.

        Files of a training that was interrupted before its first checkpoint are replaced.

        Args:
            path: The folder.
            config_yaml: The configuration.
            code: Plugged classes and functions of the experiment; see `record_sources`.

        Raises:
            RunError: If the folder holds anything else, or cannot be written.
        """
        run = cls(path)
        run.check_free()
        try:
            path.mkdir(parents=True, exist_ok=True)
            run.clear()
            run.wandb.unlink(missing_ok=True)
            # The configuration is written last: it makes the folder a run that can be resumed.
            write_json(run.environment, environment())
            record_sources(path, code)
            write_atomically(run.config, config_yaml.encode())
        except OSError as error:
            raise RunError(f"{printable(path)} cannot be written: {error.strerror}") from error
        return run

    def check_free(self) -> None:
        """Check that a new run may be made in the folder.

        Raises:
            RunError: If it holds another run, or files that are not of an interrupted training.
        """
        if self._worth_keeping():
            raise RunError(
                f"{printable(self.path)} already holds a run; choose another --out, "
                f"or resume it: {self.resume_command}"
            )
        try:
            names = {each.name for each in self.path.iterdir()} - {LOCK, HOLDER}
        except FileNotFoundError:
            return
        except OSError as error:
            raise RunError(f"{printable(self.path)} cannot be written: {error.strerror}") from error
        names = {name for name in names if not _is_draft(name)}
        # What a training leaves that ended before its first checkpoint, or a failed trial.
        made = {"environment.json", "failed.json"} & names
        if others := sorted(names if not made else names - RUN_FILES - _OTHERS):
            raise RunError(
                f"{printable(self.path)} is not empty: it holds {printable(others[0])}, which is "
                "not of an interrupted run; choose another --out"
            )
        self.check_files()
        self.refuse_links()

    def check_files(self) -> None:
        """Check that no name of a run is taken by a pipe, a device or a folder.

        Raises:
            RunError: Naming the first that is.
        """
        for name in sorted(RUN_FILES | _LATER | _FOLDERS):
            path = self.path / name
            folder = name in _FOLDERS
            if path.exists() and not (path.is_dir() if folder else path.is_file()):
                kind = "a folder" if folder else "a file"
                raise RunError(f"{printable(path)} is not {kind}; remove it")

    def refuse_links(self) -> None:
        """Check that what a training appends to, or writes into, is no link to another place.

        Raises:
            RunError: Naming the first that is.
        """
        for path in (self.metrics, self.checkpoints, self.path / CODE, self.path / "wandb"):
            refuse_link(path)

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
            RunError: If the folder is not a run, or a name of a run is taken by something else than
                a file.
        """
        if not path.is_dir():
            raise RunError(f"{path} is not a folder; give the folder of a run")
        run = cls(path)
        if not run.config.is_file():
            raise RunError(f"{path} is not a run folder: it has no config.yaml")
        run.check_files()
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


def _is_draft(name: str) -> bool:
    """Tell whether a name is that of a partial file that a kill left; see `files.open_draft`."""
    return any(name.startswith(f".{each}.") for each in RUN_FILES)
