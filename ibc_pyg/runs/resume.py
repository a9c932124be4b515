"""Finding an interrupted run and checking that its settings match."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ibc_pyg.config import Config
from ibc_pyg.config.files.yaml_file import config_from_yaml, config_to_dict, config_to_yaml
from ibc_pyg.errors import RunError
from ibc_pyg.files import write_atomically
from ibc_pyg.runs.checkpoint import drop_after, list_checkpoints, load_newest
from ibc_pyg.runs.data_root import with_absolute_root, with_found_root
from ibc_pyg.runs.run_folder import RunFolder

MAY_CHANGE = frozenset(
    {
        "data.root",
        "data.workers",
        "data.cache",
        "data.on_error",
        "evaluate.device",
        "train.device",
        "train.threads",
        "train.cudnn_benchmark",
        "train.on_divergence",
        "train.max_restarts",
    }
)
"""Fields that may change in a resumed run, besides all of `track`: they set where it runs, what
is recorded, and what happens to an image that cannot be read, not what is trained."""


@dataclass(frozen=True)
class InterruptedRun:
    """A run that can be resumed, or is finished.

    Attributes:
        run: Run folder.
        config: Experiment to resume with.
        checkpoint: Step and state; None starts from the beginning.
    """

    run: RunFolder
    config: Config
    checkpoint: tuple[int, Any] | None

    @property
    def retraining(self) -> bool:
        """Whether it was interrupted in its second pass, on all training classes."""
        if self.checkpoint is None:
            return False
        return bool(self.checkpoint[1].get("progress", {}).get("retraining"))

    def prepare(self) -> None:
        """Restore the folder to the checkpoint.

        Raises:
            RunError: If it cannot be written, or a link in it leads elsewhere.
        """
        self.run.refuse_links()
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
    """Open a run folder and check that it can be resumed.

    Args:
        path: Run folder.
        wanted: Experiment that the run should be; None accepts that of the folder.

    Raises:
        RunError: If it is not a run, or a run of another experiment, naming the first different
            field; if config.yaml was changed; if it has checkpoints, but none is intact.
    """
    run = RunFolder.open(path)
    config = config_from_yaml(run.config)
    if wanted is not None:
        if found := first_difference(config_to_dict(config), config_to_dict(wanted)):
            name, before, now = found
            raise RunError(
                f"{path} is a run of another experiment, with {name} = {before}, not {now}; resume "
                "it without file and options, or start a new run"
            )
        moved = wanted.data.root != config.data.root
        config = with_absolute_root(wanted) if moved else wanted
    config = with_found_root(run, config)
    if run.summary.is_file():
        return InterruptedRun(run, config, None)
    checkpoint = load_newest(run.checkpoints) if list_checkpoints(run.checkpoints) else None
    if checkpoint is not None:
        saved = checkpoint[1].get("config", {})
        if found := first_difference(saved, config_to_dict(config)):
            name, before, now = found
            raise RunError(
                f"the checkpoint in {run.checkpoints} was made with {name} = {before}, but "
                f"{run.config} says {now}; restore that value, or start a new run"
            )
    return InterruptedRun(run, config, checkpoint)


def first_difference(before: Any, now: Any) -> tuple[str, Any, Any] | None:
    """Return the first field that changes what is trained, and its two values.

    Args:
        before: Configuration as nested dictionaries; fields that it lacks are not compared.
        now: Another configuration.
    """
    known = dict(_flat(before))
    for name, value in _flat(now):
        if name in MAY_CHANGE or name.startswith("track."):
            continue
        if name in known and known[name] != value:
            return _within(name, known[name], value)
    return None


def _within(name: str, before: Any, now: Any) -> tuple[str, Any, Any]:
    """Return the first difference within a field, such as `loss.terms.0.args`, and its values."""
    pairs: list[tuple[Any, Any, Any]] = []
    if isinstance(before, dict) and isinstance(now, dict) and before.keys() == now.keys():
        pairs = [(key, before[key], now[key]) for key in now]
    elif isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        # Lists of numbers are reported whole.
        both = zip(before, now, strict=True)
        pairs = [(index, *pair) for index, pair in enumerate(both) if isinstance(pair[0], dict)]
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
