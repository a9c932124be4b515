"""The training loop."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from safetensors.torch import save
from torch import Tensor

from ibc_pyg.console import progress
from ibc_pyg.data.batch import Batch
from ibc_pyg.data.loader import train_loader
from ibc_pyg.engine.build import lr_factor
from ibc_pyg.engine.checkpoint import random_state, save_checkpoint, set_random_state
from ibc_pyg.engine.describe import describe_probe
from ibc_pyg.engine.evaluate import score_retrieval
from ibc_pyg.engine.files import write_atomically
from ibc_pyg.engine.interrupt import StopRequest
from ibc_pyg.engine.load import fit_weights, read_weights
from ibc_pyg.engine.run_folder import RunFolder
from ibc_pyg.engine.setup import Experiment
from ibc_pyg.errors import RunError
from ibc_pyg.track.base import Tracker

SPEED_STEPS = 20
"""Steps that the speed is averaged over."""


@dataclass
class Progress:
    """How far a training is.

    Attributes:
        step: Optimiser steps done.
        best: R@1 of the best evaluation so far; -1 before the first.
        best_epoch: Epochs done at that evaluation.
        seconds: Time of training and its evaluations, in all sittings.
    """

    step: int = 0
    best: float = -1.0
    best_epoch: int = 0
    seconds: float = 0.0


class Interrupted(Exception):  # noqa: N818
    """The user asked to stop; a checkpoint has been written."""


def fit(
    experiment: Experiment,
    run: RunFolder,
    tracker: Tracker,
    console: Console,
    *,
    resume: tuple[int, Any] | None = None,
) -> Progress:
    """Train to the last epoch.

    Args:
        experiment: What `setup` built; trained in place.
        run: Where checkpoints and the best weights go.
        tracker: Where losses and metrics go.
        console: Where progress is shown.
        resume: Step and state of the checkpoint to go on from.

    Raises:
        Interrupted: If the user stopped it.
        RunError: If the loss is not finite, or a checkpoint cannot be written.
    """
    config, sampler = experiment.config, experiment.sampler
    train, every = config.train, config.train.evaluate_every
    at = Progress() if resume is None else _restore(experiment, run, resume[1])
    before, began = at.seconds, time.perf_counter()

    def save_progress() -> None:
        at.seconds = before + time.perf_counter() - began
        _save(experiment, run, at)

    loader = train_loader(
        experiment.data.train_table,
        sampler,
        experiment.data.transform,
        seed=train.seed,
        workers=experiment.data.workers,
        device=experiment.fabric.device,
        cache=experiment.data.cache,
        on_error=experiment.data.on_error,
    )
    experiment.step_model.train()
    # Epochs can differ in length (redrawn batches), so the bar counts in nominal steps.
    nominal = len(loader)
    on_cpu = experiment.fabric.device.type == "cpu"
    start = sampler.epoch * nominal + sampler.step
    bar = progress(max(train.epochs * nominal, start), "train", console=console, start=start)
    with StopRequest() as stop, bar:
        speed = _Speed()
        while sampler.epoch < train.epochs:
            steps_per_epoch = len(loader)
            for batch in loader:
                # The loader has moved the sampler behind this batch.
                epoch = sampler.epoch + (sampler.step - 1) / steps_per_epoch
                lr = _set_lr(experiment, at.step, epoch)
                losses = train_step(experiment, batch)
                at.step += 1
                rate = speed(len(batch))
                due = at.step % config.track.every == 0 or sampler.step == steps_per_epoch
                # On a GPU each look at the loss is a wait for the device.
                if due or on_cpu:
                    values = _finite(losses, at.step, lr)
                if due:
                    tracker.log(at.step, values | {"train/lr": lr, "train/images_per_s": rate})
                    done = round((sampler.epoch + sampler.step / steps_per_epoch) * nominal)
                    bar.update(done, loss=values["train/loss"], images_per_second=rate)
                if stop.requested:
                    save_progress()
                    raise Interrupted
            last = sampler.epoch == train.epochs
            if every and (last or sampler.epoch % every == 0):
                _evaluate(experiment, run, tracker, at)
                speed = _Speed()
            if sampler.epoch in train.reload_best_at and at.best_epoch:
                fit_weights(experiment.model, read_weights(run.weights), run.weights)
            # Ctrl-C may also have come while evaluating.
            if last or stop.requested or sampler.epoch % train.checkpoint_every == 0:
                save_progress()
            if stop.requested:
                raise Interrupted
    rows = experiment.data.splits.train
    experiment.data.skipped.update(
        {int(rows[row]): reason for row, reason in loader.skipped.items()}
    )
    return at


def train_step(experiment: Experiment, batch: Batch) -> dict[str, Tensor]:
    """Take one optimiser step and return the losses, detached scalars."""
    fabric, optimizer = experiment.fabric, experiment.optimizer
    output = experiment.step_model(batch.images)
    terms = experiment.loss(output, batch.labels)
    optimizer.zero_grad()
    fabric.backward(terms.total)
    if experiment.config.train.clip_norm is not None:
        fabric.clip_gradients(
            experiment.step_model, optimizer, max_norm=experiment.config.train.clip_norm
        )
    optimizer.step()
    losses = {"train/loss": terms.total, "train/loss_auxiliary": terms.auxiliary}
    if output.node_logits:
        losses["train/loss_nodes"] = terms.nodes
    return {name: value.detach() for name, value in losses.items()}


def _set_lr(experiment: Experiment, step: int, epoch: float) -> float:
    config = experiment.config.train
    factor = lr_factor(config, step, epoch)
    for group in experiment.optimizer.param_groups:
        scale = config.backbone_lr_factor if group["name"] == "backbone" else 1.0
        group["lr"] = config.lr * scale * factor
    return config.lr * factor


def _finite(losses: Mapping[str, Tensor], step: int, lr: float) -> dict[str, float]:
    values = {name: float(value) for name, value in losses.items()}
    if not all(math.isfinite(value) for value in values.values()):
        raise RunError(
            f"the loss is {values['train/loss']} at step {step} (learning rate {lr:.2e}); "
            "lower train.lr, or set train.clip_norm or train.warmup_steps"
        )
    return values


def _evaluate(experiment: Experiment, run: RunFolder, tracker: Tracker, at: Progress) -> None:
    config, splits, epoch = experiment.config, experiment.data.splits, experiment.sampler.epoch
    role, probe = ("test", splits.test) if splits.val is None else ("val", splits.val)
    described = describe_probe(
        experiment.fabric,
        experiment.model,
        experiment.data,
        probe,
        batch_size=config.evaluate.batch_size,
    )
    scores = score_retrieval(described, config.evaluate)
    tracker.log(
        at.step,
        {"epoch": epoch} | {f"{role}/{name}": value for name, value in scores.items()},
    )
    if config.select != "last" and scores["R@1"] > at.best:
        at.best, at.best_epoch = scores["R@1"], epoch
        save_weights(experiment, run)


def save_weights(experiment: Experiment, run: RunFolder) -> None:
    """Write the model's weights to the run folder.

    Raises:
        RunError: If they cannot be written; the earlier file is as it was.
    """
    weights = {
        # clone: safetensors refuses tensors that share memory.
        name: value.detach().cpu().contiguous().clone()
        for name, value in experiment.model.state_dict().items()
    }
    write_atomically(run.weights, save(weights))


def _save(experiment: Experiment, run: RunFolder, at: Progress) -> None:
    state = {
        "model": experiment.model.state_dict(),
        "optimizer": experiment.optimizer.state_dict(),
        "random": random_state(),
        # The scale of the gradients, in 16-bit floats.
        "precision": experiment.fabric.strategy.precision.state_dict(),
        "sampler": experiment.sampler.state_dict(),
        "progress": vars(at),
    }
    save_checkpoint(run.checkpoints, at.step, state)


def _restore(experiment: Experiment, run: RunFolder, state: Any) -> Progress:
    try:
        fit_weights(experiment.model, state["model"], run.checkpoints)
        experiment.optimizer.load_state_dict(state["optimizer"])
        experiment.sampler.load_state_dict(state["sampler"])
        set_random_state(state["random"])
        if state.get("precision"):
            experiment.fabric.strategy.precision.load_state_dict(state["precision"])
        return Progress(**state["progress"])
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise RunError(
            f"the checkpoint in {run.checkpoints} does not fit config.yaml: {error}"
        ) from error


class _Speed:
    """Images per second over the last steps."""

    def __init__(self) -> None:
        self._marks = deque([(0, time.perf_counter())], maxlen=SPEED_STEPS)
        self._images = 0

    def __call__(self, images: int) -> float:
        self._images += images
        before, began = self._marks[0]
        now = time.perf_counter()
        self._marks.append((self._images, now))
        return (self._images - before) / max(now - began, 1e-9)
