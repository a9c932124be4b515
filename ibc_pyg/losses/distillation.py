"""Distillation from a trained network."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from ibc_pyg.losses.term import TermInput


class SoftTargetDistillation(nn.Module):
    r"""Kullback-Leibler divergence from the teacher's class probabilities.

    From `"Distilling the Knowledge in a Neural Network" <https://arxiv.org/abs/1503.02531>`_, with
    logits divided by the temperature T, and the loss multiplied by :math:`T^2` to keep the scale of
    gradients.

    Args:
        temperature: T > 0.

    Raises:
        ValueError: If T is out of range.
    """

    def __init__(self, temperature: float = 4.0) -> None:
        super().__init__()
        if not temperature > 0:
            raise ValueError(f"temperature must be > 0, not {temperature}")
        self.temperature = temperature

    def forward(self, inputs: TermInput) -> Tensor:
        """Return the mean over the batch."""
        teacher = _teacher(inputs).logits / self.temperature  # [N, C]
        student = inputs.logits / self.temperature  # [N, C]
        divergence = F.kl_div(
            student.log_softmax(dim=1),
            teacher.log_softmax(dim=1),
            reduction="batchmean",
            log_target=True,
        )
        return divergence * self.temperature**2


class FeatureDistillation(nn.Module):
    """Mean squared distance to the teacher's features, both at unit norm; in [0, 4]."""

    def forward(self, inputs: TermInput) -> Tensor:
        """Return the mean over the batch."""
        teacher = F.normalize(_teacher(inputs).features, dim=1)  # [N, D]
        student = F.normalize(inputs.features, dim=1)  # [N, D]
        return (student - teacher).square().sum(dim=1).mean()


def _teacher(inputs: TermInput) -> TermInput:
    if inputs.teacher is None:
        raise ValueError("distillation needs the outputs of a teacher")
    return inputs.teacher
