"""The training loop."""

from __future__ import annotations

import time
from typing import Any

from ibc_pyg.builders.compiling import CannotCompileError
from ibc_pyg.builders.optimization.freezing import set_frozen
from ibc_pyg.builders.optimization.optimizer import learning_rates, set_lr
from ibc_pyg.builders.optimization.schedule import own_schedule
from ibc_pyg.console import Progress
from ibc_pyg.data.loading.batch import Batch
from ibc_pyg.data.loading.loader import train_loader
from ibc_pyg.nn.weights import fit_weights, read_weights
from ibc_pyg.parallel.processes import synchronised
from ibc_pyg.training.experiment import Experiment
from ibc_pyg.training.faults.divergence import DivergenceError, DivergenceMonitor
from ibc_pyg.training.faults.interrupt import StopRequest, TrainingInterrupted
from ibc_pyg.training.faults.recovery import recover
from ibc_pyg.training.monitor.speed import Speed, memory_in_use
from ibc_pyg.training.monitor.statistics import StepStatistics
from ibc_pyg.training.selection import evaluate_and_select
from ibc_pyg.training.snapshot import restore_state, save_state
from ibc_pyg.training.step import train_step
from ibc_pyg.training.training import Training


def fit(training: Training, checkpoint: tuple[int, Any] | None = None) -> None:
    """Train to the last epoch.

    Args:
        training: Trained in place.
        checkpoint: Step and state of the checkpoint to resume from.

    Raises:
        TrainingInterrupted: If the user stopped it.
        RunError: If training diverged and is not restarted, or a checkpoint cannot be written.
    """
    restarts = training.experiment.config.train.on_divergence == "restart"
    if checkpoint is not None:
        restore_state(training, checkpoint)
    elif restarts or training.progress.retraining:
        # Recovery, and a resume within the second pass, need a checkpoint of its beginning.
        save_state(training)
    with StopRequest() as stop:
        while True:
            attempt = _Attempt(training, stop)
            try:
                attempt.run()
                return
            except DivergenceError as error:
                recover(training, error)


def checks_each_step(experiment: Experiment) -> bool:
    """Tell whether every step is checked at once; on a GPU each check waits for the device."""
    return experiment.fabric.device.type == "cpu"


class _Attempt:
    """Training from the current progress to the last epoch, or to a divergence."""

    def __init__(self, training: Training, stop: StopRequest) -> None:
        experiment, self.stop = training.experiment, stop
        config, data = experiment.config, experiment.data
        self.training, self.experiment, self.progress = training, experiment, training.progress
        self.train, self.sampler = config.train, experiment.sampler
        retraining = self.progress.retraining
        self.epochs = self.progress.best_epoch if retraining else config.train.epochs
        self.loader = train_loader(
            data.train_table,
            experiment.sampler,
            data.transform,
            data.loading(experiment.fabric.device),
            seed=config.train.seed,
        )
        # Epochs can differ in length (redrawn batches); the bar counts in nominal steps.
        self.nominal = len(self.loader)
        self.monitor, self.speed = DivergenceMonitor(experiment.fabric), Speed()
        self.statistics = experiment.statistics = StepStatistics(
            experiment.fabric, experiment.model, experiment.loss, config.track.statistics_every
        )
        self.schedule = own_schedule(config.train)
        self.clock = time.perf_counter()

    def run(self) -> None:
        self.experiment.step_model.train()
        start = self.sampler.epoch * self.nominal + self.sampler.step
        total = max(self.epochs * self.nominal, start)
        name = "retrain" if self.progress.retraining else "train"
        try:
            with Progress(total, name, console=self.training.console, start=start) as bar:
                while self.sampler.epoch < self.epochs:
                    for batch in synchronised(self.speed.waiting(self.loader)):
                        self._step(batch, bar)
                    self._end_epoch()
        except DivergenceError:
            self._settle()
            raise

    def _step(self, batch: Batch, bar: Progress) -> None:
        experiment, sampler, at = self.experiment, self.sampler, self.progress
        length = len(self.loader)
        # The sampler already points past this batch.
        epoch = sampler.epoch + (sampler.step - 1) / length
        lr = set_lr(
            experiment.optimizer,
            self.train,
            at.step - at.began,
            epoch,
            scale=at.lr_scale,
            schedule=self.schedule,
        )
        set_frozen(experiment.model, experiment.config, epoch)
        due = (at.step + 1) % experiment.config.track.every == 0 or sampler.step == length
        due = self.statistics.schedule(at.step + 1, record=due)
        try:
            losses = train_step(experiment, batch)
        except CannotCompileError:
            if self.stop.requested:  # Ctrl-C also interrupts the compiler.
                raise KeyboardInterrupt from None
            raise
        at.step += 1
        self.monitor.observe(at.step, lr, losses, batch)
        self.speed.add(experiment.sampler.batch_size)
        checked = due or checks_each_step(experiment)
        if checked:
            values = self.monitor.check(self.statistics.collect())
        if due:
            self._record(values | {"train/lr": lr}, bar)
        if self.stop.agreed():
            if not checked:
                self.monitor.check()
            self.monitor.check_state(experiment)
            self._save()
            raise TrainingInterrupted

    def _record(self, values: dict[str, float], bar: Progress) -> None:
        optimizer, sampler = self.experiment.optimizer, self.sampler
        values |= self.speed.record() | learning_rates(optimizer)
        memory = memory_in_use(self.experiment.fabric.device)
        self.training.tracker.log(self.progress.step, values | memory)
        done = round((sampler.epoch + sampler.step / len(self.loader)) * self.nominal)
        rate = values["train/images_per_s"]
        bar.update(done, loss=values["train/loss"], images_per_second=rate)

    def _end_epoch(self) -> None:
        epoch, train, at = self.sampler.epoch, self.train, self.progress
        last = epoch == self.epochs
        self.monitor.check_state(self.experiment)
        every = 0 if at.retraining else train.evaluate_every
        if every and (last or epoch % every == 0):
            evaluate_and_select(self.training, self.monitor)
            self.speed = Speed()
        if epoch in train.reload_best_at and at.best_epoch:
            weights = self.training.run.weights
            fit_weights(self.experiment.model, read_weights(weights), weights)
            if self.experiment.ema is not None:
                self.experiment.ema.restart()
        # Ctrl-C may also have come during the evaluation.
        stop = self.stop.agreed()
        if last or stop or epoch % train.checkpoint_every == 0:
            self._save()
        if stop:
            raise TrainingInterrupted

    def _save(self) -> None:
        self._settle()
        save_state(self.training)

    def _settle(self) -> None:
        """Update the training time and the skipped images."""
        now = time.perf_counter()
        self.progress.seconds += now - self.clock
        self.clock = now
        rows = self.experiment.data.splits.train
        self.experiment.data.skipped.update(
            {int(rows[row]): reason for row, reason in self.loader.skipped.items()}
        )
