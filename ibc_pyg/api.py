"""Front door: train, load and evaluate from Python, as the commands do."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from ibc_pyg.config import Config
from ibc_pyg.config.files.overlays import parse_overlays
from ibc_pyg.config.plugged import plugged_code
from ibc_pyg.errors import ConfigError
from ibc_pyg.evaluation.runs import ScoreOptions, score_runs
from ibc_pyg.inference.embedder import Embedder
from ibc_pyg.inference.published import is_published
from ibc_pyg.inference.test_time_views import Views
from ibc_pyg.inference.trained import load_run
from ibc_pyg.training import run as training
from ibc_pyg.training.faults.interrupt import TrainingInterrupted

PathLike = str | os.PathLike[str]


@dataclass(frozen=True)
class TrainedRun:
    """A finished training.

    Attributes:
        path: The run folder, which `load` and `evaluate` take.
        metrics: Final metrics on the test classes, as in its summary.json: fractions in [0, 1]
            under `R@1`, `MAP@R`, `RP`, `NMI` and others, counts, seed, epoch, seconds.
    """

    path: Path
    metrics: dict[str, Any]


def load(
    path: PathLike, *, device: str | torch.device | None = None, trust_code: bool = False
) -> Embedder:
    """Open a trained model; its data set need not be there.

    Args:
        path: A run folder, or a published one.
        device: Where the model goes; None takes the device of the run, or the CPU where that is
            unavailable.
        trust_code: Import the code of the user that the run refers to; it is executed.

    Raises:
        RunError: If the folder is not a run, lacks a file, was made by a newer version, or names
            code that is not trusted.
        ConfigError: If its configuration is damaged.
    """
    folder = Path(path)
    if is_published(folder):
        embedder = Embedder.from_pretrained(folder)
    else:
        embedder = Embedder.of(load_run(folder, trust_code=trust_code))
    return embedder if device is None else embedder.to(device)


def train(
    experiment: PathLike | Config | Sequence[PathLike],
    overrides: Mapping[str, Any] | None = None,
    *,
    out: PathLike,
    resume: bool = False,
    progress: bool = False,
) -> TrainedRun:
    """Train an experiment to its end, as the command `train` does.

    Args:
        experiment: A YAML file; several, of which later ones are laid over earlier ones; or a
            configuration.
        overrides: Values of fields by their dotted names, such as `{"train.epochs": 2}`.
        out: Folder of the run; must be missing, empty, or of a training that was interrupted before
            its first checkpoint.
        resume: Continue an interrupted run in `out`, if there is one.
        progress: Show progress on standard error.

    Raises:
        ConfigError: If a field is unknown or out of range.
        DatasetError: If images are missing.
        RunError: If `out` holds anything else, another process trains there, or training diverged.
        KeyboardInterrupt: If Ctrl-C stopped it, after a checkpoint was written.
    """
    console = Console(stderr=True, quiet=not progress, highlight=False, markup=False)
    config, path = _config(experiment, overrides or {}), Path(out)
    try:
        if resume and (path / "config.yaml").is_file():
            known = plugged_code(config)
            run = training.resume(path, console, config, known_code=known)
        else:
            run = training.train(config, path, console)
    except TrainingInterrupted:
        raise KeyboardInterrupt(f"{path} can be continued with resume=True") from None
    return TrainedRun(run.path, run.read_summary())


def evaluate(
    path: PathLike,
    *,
    ks: Sequence[int] | None = None,
    refine: str | None = None,
    refine_size: int | None = None,
    rerank: bool = False,
    flip: bool = False,
    crops: int = 1,
    data_root: PathLike | None = None,
    trust_code: bool = False,
) -> dict[str, Any]:
    """Score a run on its test images, which must be there.

    Args:
        path: The run folder.
        ks: The K of R@K; None takes those of the run or of its data set.
        refine: Also score embeddings refined by message passing among neighbours found in this
            way; None takes the run's setting.
        refine_size: Images in a neighbourhood; None takes the run's setting.
        rerank: Also score k-reciprocal re-ranking.
        flip: Average each image with its mirror image.
        crops: Average 1, 5 or 9 crops of each image.
        data_root: Folder of the images, if they were moved; None takes that of the run.
        trust_code: As for `load`.

    Returns:
        Fractions in [0, 1] under `R@K`, `MAP@R`, `RP`, `NMI`, `AMI`, `ARI` with the counts and
        settings that belong to them; refined and re-ranked ones nested under `refined` and
        `reranked`.

    Raises:
        UserError: If the run cannot be used, or images are missing.
    """
    options = ScoreOptions(
        ks=None if ks is None else tuple(ks),
        views=Views(flip, crops),
        refine=refine,
        refine_size=refine_size,
        rerank=rerank,
        trust_code=trust_code,
        fields=() if data_root is None else ("--data.root", os.fspath(data_root)),
    )
    return score_runs([Path(path)], options).runs[0].to_dict()


def _config(
    experiment: PathLike | Config | Sequence[PathLike], overrides: Mapping[str, Any]
) -> Config:
    options = [word for name, value in overrides.items() for word in _option(name, value)]
    if isinstance(experiment, Config):
        if options:
            raise ConfigError("overrides go with experiment files; change the Config itself")
        return experiment
    files = [experiment] if isinstance(experiment, str | os.PathLike) else list(experiment)
    if not files:
        raise ConfigError("experiment is empty: give a YAML file")
    return parse_overlays([Path(file) for file in files], options)


def _option(name: str, value: Any) -> tuple[str, str]:
    """Return a field and its value as command-line words."""
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if isinstance(value, str):
        return f"--{name}", value
    try:
        return f"--{name}", json.dumps(value)  # JSON is YAML
    except TypeError as error:
        raise ConfigError(
            f"{name}: a value is a number, text, list or mapping of these, not {value!r:.40}"
        ) from error
