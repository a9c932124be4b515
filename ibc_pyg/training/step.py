"""One optimiser step."""

from __future__ import annotations

from torch import Tensor
from torch.nn.utils import get_total_norm

from ibc_pyg.builders.compiling import compiling
from ibc_pyg.data.loading.batch import Batch
from ibc_pyg.parallel.fabric import average_gradients, mean_values
from ibc_pyg.parallel.precision import gradient_scaler
from ibc_pyg.training.experiment import Experiment


def train_step(experiment: Experiment, batch: Batch) -> dict[str, Tensor]:
    """Take one optimiser step.

    Returns:
        Losses and gradient norm before clipping, detached scalars. The norm is left out if 16-bit
        gradients are scaled, since infinite gradients are expected while the scale is adjusted.

    Raises:
        CannotCompileError: If the model cannot be compiled.
    """
    fabric, optimizer = experiment.fabric, experiment.optimizer
    sampled = experiment.loss.sampled
    columns = None if sampled is None else sampled.draw(batch.labels, optimizer)
    with compiling():
        output = experiment.step_model(batch.images)
        terms = experiment.loss(output, batch.labels, batch.images, columns)
        optimizer.zero_grad()
        fabric.backward(terms.total)
    average_gradients([*experiment.model.parameters(), *experiment.loss.parameters()])
    if experiment.statistics is not None:
        experiment.statistics.observe(output, batch.labels)
    norm = _clip_gradients(experiment)
    optimizer.step()
    if sampled is not None:
        sampled.keep(optimizer)
    if experiment.ema is not None:
        experiment.ema.update()
    values = {"train/loss": terms.total, "train/loss_auxiliary": terms.auxiliary}
    if output.node_logits:
        values["train/loss_nodes"] = terms.nodes
    values |= {f"train/loss_{name}": value for name, value in terms.terms.items()}
    if gradient_scaler(fabric) is None:
        values["train/grad_norm"] = norm
    return mean_values(values)


def _clip_gradients(experiment: Experiment) -> Tensor:
    """Clip the gradients if configured; return their norm before clipping."""
    clip_norm = experiment.config.train.clip_norm
    if clip_norm is not None:
        norm = experiment.fabric.clip_gradients(
            experiment.step_model,
            experiment.optimizer,
            max_norm=clip_norm,
            error_if_nonfinite=False,
        )
        assert norm is not None
        return norm
    if experiment.statistics is not None:
        known = experiment.statistics.total_norm()
        if known is not None:
            return known
    parameters = (*experiment.model.parameters(), *experiment.loss.parameters())
    return get_total_norm([each.grad for each in parameters if each.grad is not None])
