"""The training loop."""

from __future__ import annotations

import time
from typing import Any

from rich.console import Console

from ibc_pyg.console import progress
from ibc_pyg.data.loader import train_loader
from ibc_pyg.engine.describe import describe_probe
from ibc_pyg.engine.evaluate import score_retrieval
from ibc_pyg.engine.interrupt import StopRequest
from ibc_pyg.engine.load import fit_weights, read_weights
from ibc_pyg.engine.optimizer import set_lr
from ibc_pyg.engine.run_folder import RunFolder
from ibc_pyg.engine.setup import Experiment
from ibc_pyg.engine.speed import Speed
from ibc_pyg.engine.state import Progress, restore_state, save_state, save_weights
from ibc_pyg.engine.step import finite_losses, train_step
from ibc_pyg.track.base import Tracker


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
    at = Progress() if resume is None else restore_state(experiment, run, resume[1])
    before, began = at.seconds, time.perf_counter()

    def save_progress() -> None:
        at.seconds = before + time.perf_counter() - began
        save_state(experiment, run, at)

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
        speed = Speed()
        while sampler.epoch < train.epochs:
            steps_per_epoch = len(loader)
            for batch in loader:
                # The loader has moved the sampler behind this batch.
                epoch = sampler.epoch + (sampler.step - 1) / steps_per_epoch
                lr = set_lr(experiment.optimizer, train, at.step, epoch)
                losses = train_step(experiment, batch)
                at.step += 1
                rate = speed(len(batch))
                due = at.step % config.track.every == 0 or sampler.step == steps_per_epoch
                # On a GPU each look at the loss is a wait for the device.
                if due or on_cpu:
                    values = finite_losses(losses, at.step, lr)
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
                speed = Speed()
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
