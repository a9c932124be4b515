"""One optimiser step."""

from __future__ import annotations

import math
from collections.abc import Mapping

from torch import Tensor

from ibc_pyg.data.batch import Batch
from ibc_pyg.engine.setup import Experiment
from ibc_pyg.errors import RunError


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


def finite_losses(losses: Mapping[str, Tensor], step: int, lr: float) -> dict[str, float]:
    """Return the losses as numbers.

    Raises:
        RunError: If one is not finite.
    """
    values = {name: float(value) for name, value in losses.items()}
    if not all(math.isfinite(value) for value in values.values()):
        raise RunError(
            f"the loss is {values['train/loss']} at step {step} (learning rate {lr:.2e}); "
            "lower train.lr, or set train.clip_norm or train.warmup_steps"
        )
    return values
