"""The training loop."""

from __future__ import annotations

import time
from typing import Any

from rich.console import Console

from ibc_pyg.builders.compiling import CannotCompileError
from ibc_pyg.builders.freezing import set_frozen
from ibc_pyg.builders.optimizer import learning_rates, set_lr
from ibc_pyg.console import Progress as Bar
from ibc_pyg.console import progress
from ibc_pyg.data.loading.batch import Batch
from ibc_pyg.data.loading.loader import train_loader
from ibc_pyg.nn.weights import fit_weights, read_weights
from ibc_pyg.parallel.processes import synchronised
from ibc_pyg.runs.run_folder import RunFolder
from ibc_pyg.track.base import Tracker
from ibc_pyg.training.divergence import DivergenceError, DivergenceMonitor
from ibc_pyg.training.experiment import Experiment
from ibc_pyg.training.interrupt import StopRequest
from ibc_pyg.training.monitor.speed import Speed, memory_in_use
from ibc_pyg.training.monitor.statistics import StepStatistics
from ibc_pyg.training.recovery import recover
from ibc_pyg.training.selection import evaluate_and_select
from ibc_pyg.training.snapshot import Progress, restore_state, save_state
from ibc_pyg.training.step import train_step


class TrainingInterrupted(Exception):  # noqa: N818
    """The user asked to stop; a checkpoint has been written."""


def fit(
    experiment: Experiment,
    run: RunFolder,
    tracker: Tracker,
    console: Console,
    *,
    resume: tuple[int, Any] | None = None,
    at: Progress | None = None,
) -> Progress:
    """Train to the last epoch.

    Args:
        experiment: What `setup` built; trained in place.
        run: Where checkpoints and the best weights go.
        tracker: Where losses and metrics go.
        console: Where progress is shown.
        resume: Step and state of the checkpoint to go on from.
        at: What another pass has done before; a checkpoint of it is written first.

    Raises:
        TrainingInterrupted: If the user stopped it.
        RunError: If training diverged for good, or a checkpoint cannot be written.
    """
    if resume is not None:
        at = restore_state(experiment, run, resume)
    elif at is not None or experiment.config.train.on_divergence == "restart":
        at = at or Progress()
        save_state(experiment, run, at)
    at = at or Progress()
    with StopRequest() as stop:
        while True:
            one_go = _Fit(experiment, run, tracker, at, stop)
            try:
                one_go(console)
                return at
            except DivergenceError as event:
                at = recover(experiment, run, tracker, at, event)


def looks_each_step(experiment: Experiment) -> bool:
    """Tell whether the numbers of a step are at hand; on a GPU each look waits for the device."""
    return experiment.fabric.device.type == "cpu"


class _Fit:
    """Training from `at` to the last epoch, in one go."""

    def __init__(
        self,
        experiment: Experiment,
        run: RunFolder,
        tracker: Tracker,
        at: Progress,
        stop: StopRequest,
    ) -> None:
        config, data = experiment.config, experiment.data
        self.experiment, self.run, self.tracker = experiment, run, tracker
        self.at, self.stop = at, stop
        self.train, self.sampler = config.train, experiment.sampler
        self.epochs = at.best_epoch if at.retraining else config.train.epochs
        self.loader = train_loader(
            data.train_table,
            experiment.sampler,
            data.transform,
            data.loading(experiment.fabric.device),
            seed=config.train.seed,
        )
        # Epochs can differ in length (redrawn batches), so the bar counts in nominal steps.
        self.nominal = len(self.loader)
        self.watch, self.speed = DivergenceMonitor(experiment.fabric), Speed()
        self.statistics = experiment.statistics = StepStatistics(
            experiment.fabric, experiment.model, experiment.loss, config.track.statistics_every
        )
        self.clock = time.perf_counter()

    def __call__(self, console: Console) -> None:
        self.experiment.step_model.train()
        start = self.sampler.epoch * self.nominal + self.sampler.step
        total = max(self.epochs * self.nominal, start)
        name = "retrain" if self.at.retraining else "train"
        try:
            with progress(total, name, console=console, start=start) as bar:
                while self.sampler.epoch < self.epochs:
                    for batch in synchronised(self.speed.waiting(self.loader)):
                        self._step(batch, bar)
                    self._end_epoch()
        except DivergenceError:
            self._settle()
            raise

    def _step(self, batch: Batch, bar: Bar) -> None:
        experiment, at, sampler, train = self.experiment, self.at, self.sampler, self.train
        length = len(self.loader)
        # The loader has moved the sampler behind this batch.
        epoch = sampler.epoch + (sampler.step - 1) / length
        lr = set_lr(experiment.optimizer, train, at.step - at.began, epoch, scale=at.lr_scale)
        set_frozen(experiment.model, experiment.config, epoch)
        due = (at.step + 1) % experiment.config.track.every == 0 or sampler.step == length
        due = self.statistics.schedule(at.step + 1, record=due)
        try:
            losses = train_step(experiment, batch)
        except CannotCompileError:
            if self.stop.requested:  # Ctrl-C reaches the compiler too
                raise KeyboardInterrupt from None
            raise
        at.step += 1
        self.watch.observe(at.step, lr, losses, batch)
        self.speed.add(len(batch) * experiment.fabric.world_size)
        looked = due or looks_each_step(experiment)
        if looked:
            values = self.watch.check()
        if due:
            self._record(values | {"train/lr": lr}, bar)
        if self.stop.agreed():
            if not looked:
                self.watch.check()
            self.watch.check_state(experiment)
            self._save()
            raise TrainingInterrupted

    def _record(self, values: dict[str, float], bar: Bar) -> None:
        optimizer, sampler = self.experiment.optimizer, self.sampler
        values |= self.speed.record() | self.statistics.collect() | learning_rates(optimizer)
        self.tracker.log(self.at.step, values | memory_in_use(self.experiment.fabric.device))
        done = round((sampler.epoch + sampler.step / len(self.loader)) * self.nominal)
        rate = values["train/images_per_s"]
        bar.update(done, loss=values["train/loss"], images_per_second=rate)

    def _end_epoch(self) -> None:
        epoch, train, at = self.sampler.epoch, self.train, self.at
        last = epoch == self.epochs
        self.watch.check_state(self.experiment)
        every = 0 if at.retraining else train.evaluate_every
        if every and (last or epoch % every == 0):
            evaluate_and_select(self.experiment, self.run, self.tracker, at, self.watch)
            self.speed = Speed()
        if epoch in train.reload_best_at and at.best_epoch:
            fit_weights(self.experiment.model, read_weights(self.run.weights), self.run.weights)
            if self.experiment.ema is not None:
                self.experiment.ema.restart()
        # Ctrl-C may also have come while evaluating.
        stop = self.stop.agreed()
        if last or stop or epoch % train.checkpoint_every == 0:
            self._save()
        if stop:
            raise TrainingInterrupted

    def _save(self) -> None:
        self._settle()
        save_state(self.experiment, self.run, self.at)

    def _settle(self) -> None:
        """Bring time and skipped images up to date."""
        now = time.perf_counter()
        self.at.seconds += now - self.clock
        self.clock = now
        rows = self.experiment.data.splits.train
        self.experiment.data.skipped.update(
            {int(rows[row]): reason for row, reason in self.loader.skipped.items()}
        )
