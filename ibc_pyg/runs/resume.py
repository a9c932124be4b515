"""Which run is gone on with, and whether it is the one that was meant."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ibc_pyg.config import Config
from ibc_pyg.config.yaml_file import config_from_yaml, config_to_dict, config_to_yaml
from ibc_pyg.errors import RunError
from ibc_pyg.files import write_atomically
from ibc_pyg.runs.checkpoint import drop_after, list_checkpoints, load_newest
from ibc_pyg.runs.run_folder import RunFolder

MAY_CHANGE = frozenset(
    {
        "data.root",
        "data.workers",
        "data.cache",
        "train.device",
        "train.threads",
        "train.on_divergence",
        "train.max_restarts",
    }
)
"""Fields that a resumed run may have another value of, besides all of `track`: they say where it
runs and what is seen of it, not what is trained."""


@dataclass(frozen=True)
class InterruptedRun:
    """A run that can be gone on with, or is finished.

    Attributes:
        run: Its folder.
        config: What it goes on with.
        checkpoint: Step and state; None begins anew.
    """

    run: RunFolder
    config: Config
    checkpoint: tuple[int, Any] | None

    @property
    def retraining(self) -> bool:
        """Whether it was cut in its second pass, on all training classes."""
        if self.checkpoint is None:
            return False
        return bool(self.checkpoint[1].get("progress", {}).get("retraining"))

    def prepare(self) -> None:
        """Bring the folder back to the checkpoint.

        Raises:
            RunError: If it cannot be written.
        """
        text = config_to_yaml(self.config).encode()
        try:
            self.run.sweep()
            if self.run.config.read_bytes() != text:
                write_atomically(self.run.config, text)
            if self.checkpoint is None:
                self.run.clear()
            drop_after(self.run.checkpoints, self.checkpoint[0] if self.checkpoint else -1)
        except OSError as error:
            raise RunError(f"{error.filename} cannot be written: {error.strerror}") from error


def find_interrupted(path: Path, wanted: Config | None = None) -> InterruptedRun:
    """Open a run folder and check that it can go on.

    Args:
        path: The folder.
        wanted: What it was said to be; None takes the folder's word.

    Raises:
        RunError: If it is no run, or another one than was said, naming the first field that
            differs; if config.yaml was changed; if it has checkpoints, but none is whole.
    """
    run = RunFolder.open(path)
    config = config_from_yaml(run.config)
    if wanted is not None:
        if found := first_difference(config_to_dict(config), config_to_dict(wanted)):
            name, before, now = found
            raise RunError(
                f"{path} is a run with {name} = {before}, not {now}: another experiment; resume "
                "it without file and options, or start a new run"
            )
        config = wanted
    if run.summary.is_file():
        return InterruptedRun(run, config, None)
    checkpoint = load_newest(run.checkpoints) if list_checkpoints(run.checkpoints) else None
    if checkpoint is not None:
        saved = checkpoint[1].get("config", {})
        if found := first_difference(saved, config_to_dict(config)):
            name, before, now = found
            raise RunError(
                f"the checkpoint in {run.checkpoints} was made with {name} = {before}, but "
                f"{run.config} says {now}; put it back, or start a new run"
            )
    return InterruptedRun(run, config, checkpoint)


def first_difference(before: Any, now: Any) -> tuple[str, Any, Any] | None:
    """Return the first field in which two configurations train differently, and its values.

    Args:
        before: Nested dictionaries; fields that it lacks are not compared.
        now: Another one.
    """
    known = dict(_flat(before))
    for name, value in _flat(now):
        if name in MAY_CHANGE or name.startswith("track."):
            continue
        if name in known and known[name] != value:
            return _within(name, known[name], value)
    return None


def _within(name: str, before: Any, now: Any) -> tuple[str, Any, Any]:
    """Say where in two different values of a field the first difference is: `loss.terms.0.args`."""
    pairs: list[tuple[Any, Any, Any]] = []
    if isinstance(before, dict) and isinstance(now, dict) and before.keys() == now.keys():
        pairs = [(key, before[key], now[key]) for key in now]
    elif isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        # Lists of numbers are told as a whole.
        both = zip(before, now, strict=True)
        pairs = [(at, *pair) for at, pair in enumerate(both) if isinstance(pair[0], dict)]
    for key, one, other in pairs:
        if one != other:
            return _within(f"{name}.{key}", one, other)
    return name, before, now


def _flat(config: Any) -> Iterator[tuple[str, Any]]:
    for part, values in config.items():
        if isinstance(values, dict):
            yield from ((f"{part}.{name}", value) for name, value in values.items())
        else:
            yield part, values
