"""Dry run: one training step and a small evaluation, as a check of an experiment."""

from __future__ import annotations

import contextlib
import logging
import math
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from rich.console import Console

from ibc_pyg.config import Config
from ibc_pyg.data.loading.loader import Loading, train_loader
from ibc_pyg.data.registry import needs_root
from ibc_pyg.data.sample import make_sample
from ibc_pyg.data.splits import EvalSplit
from ibc_pyg.data.table import Rows
from ibc_pyg.errors import ConfigError, RunError
from ibc_pyg.evaluation.scores import score_retrieval
from ibc_pyg.inference.extract import extract_split
from ibc_pyg.training.experiment import Experiment, setup
from ibc_pyg.training.step import train_step

TEST_CLASSES = 2
TEST_IMAGES = 4
MOST_CLASSES = 40
"""Largest number of classes of a sample."""


@dataclass(frozen=True)
class DryRun:
    """Result of a dry run.

    Attributes:
        data: Name of the data set and source of its images.
        weights: Initial weights of the backbone.
        batch: Number of images of the training step.
        channels: Number of channels of an image.
        image_size: Height and width of an image, in pixels.
        parameters: Number of trainable parameters of the model.
        loss: Loss of the step.
        queries: Number of scored test images.
        recall: Their R@1; None without test images.
    """

    data: str
    weights: str
    batch: int
    channels: int
    image_size: int
    parameters: int
    loss: float
    queries: int
    recall: float | None

    def __str__(self) -> str:
        tested = "no test images"
        if self.recall is not None:
            tested = f"{self.queries} test images: R@1 {self.recall:.2f}"
        return (
            f"dry run: {self.data}; {self.parameters / 1e6:.2f} M parameters, {self.weights}; "
            f"a step of {self.batch} x {self.channels} x {self.image_size} x {self.image_size}: "
            f"loss {self.loss:.3f}; {tested}; no files"
        )


def dry_run(
    config: Config,
    console: Console | None = None,
    *,
    trust_code: bool = False,
    sample: bool = True,
) -> DryRun:
    """Build an experiment at full size, take one training step, and score a few test images.

    A missing data set is replaced by a synthetic sample in its layout. Weights that would have to
    be downloaded are left out.

    Args:
        config: The experiment.
        console: Shows progress of slow steps.
        trust_code: As in `build_loss`.
        sample: Whether a sample replaces a missing data set; false: it is an error.

    Raises:
        UserError: If the experiment cannot be run.
    """
    weights = "random weights"
    if config.model.weights is not None:
        local = Path(config.model.weights).is_file()
        weights = config.model.weights if local else f"{config.model.weights} left out"
        if not local:
            config = replace(config, model=replace(config.model, weights=None))
    with _data(config, sample=sample) as (config, data):
        experiment = setup(config, console, trust_code=trust_code)
        return _step_and_score(experiment, data, weights)


@contextlib.contextmanager
def _data(config: Config, *, sample: bool) -> Iterator[tuple[Config, str]]:
    """Yield the experiment with its own images, or with a temporary sample."""
    data = replace(config.data, workers=0, cache=False)
    name = data.name
    if not sample or not needs_root(name) or (data.root is not None and Path(data.root).exists()):
        yield replace(config, data=data), name if data.root is None else f"{name} in {data.root}"
        return
    # Enough for one batch, including two or more held-out classes.
    share = max(data.val_classes, 0.1)
    classes = max(math.ceil((data.classes_per_batch + 1) / (1 - share)), math.ceil(2 / share))
    if classes > MOST_CLASSES:
        raise ConfigError(
            f"data.classes_per_batch = {data.classes_per_batch} is more than a sample of {name} "
            "has classes for; run it with the data set, by data.root"
        )
    images = max(data.images_per_class, TEST_IMAGES)
    with tempfile.TemporaryDirectory() as folder:
        root = make_sample(name, Path(folder) / name, classes=classes, images=images)
        data = replace(data, root=str(root), allow_partial=True, val_classes=share, val_fold=0)
        # A sample is incomplete by design: no warning.
        logger = logging.getLogger("ibc_pyg.data")
        level = logger.level
        logger.setLevel(logging.ERROR)
        try:
            yield (
                replace(config, data=data),
                f"a synthetic sample of {name}, as {config.data.root} does not exist",
            )
        finally:
            logger.setLevel(level)


def _step_and_score(experiment: Experiment, data: str, weights: str) -> DryRun:
    config, sources = experiment.config, experiment.data
    loader = train_loader(
        sources.train_table,
        experiment.sampler,
        sources.transform,
        Loading(device=experiment.fabric.device, on_error=sources.on_error),
        seed=config.train.seed,
    )
    experiment.step_model.train()
    batch = next(iter(loader))
    loss = float(train_step(experiment, batch)["train/loss"])
    if not math.isfinite(loss):
        raise RunError(f"the loss of the first step is {loss}; lower loss.terms' weights or scales")
    queries, recall = _score_some(experiment)
    return DryRun(
        data,
        weights,
        len(batch),
        sources.transform.channels,
        sources.transform.image_size,
        sum(each.numel() for each in experiment.model.parameters() if each.requires_grad),
        loss,
        queries,
        recall,
    )


def _score_some(experiment: Experiment) -> tuple[int, float | None]:
    """Return the number of some test images and their R@1, None without test images."""
    config, sources = experiment.config, experiment.data
    test = sources.splits.test
    if test is None:
        return 0, None
    probe = _subset(sources.table.labels, test)
    described = extract_split(
        experiment.fabric, experiment.model, sources, probe, batch_size=config.evaluate.batch_size
    )
    scores = score_retrieval(described, config.evaluate, device=experiment.fabric.device)
    return len(probe.queries), scores["R@1"]


def _subset(labels: Rows, test: EvalSplit) -> EvalSplit:
    """Return some images of some test classes."""
    classes = np.unique(labels[test.queries])[:TEST_CLASSES]

    def subset(rows: Rows) -> Rows:
        picked = [rows[labels[rows] == label][:TEST_IMAGES] for label in classes]
        return np.concatenate(picked)

    return EvalSplit(subset(test.queries), None if test.gallery is None else subset(test.gallery))
