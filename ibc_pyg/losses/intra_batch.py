"""The paper's loss: cross-entropy on refined nodes and on backbone embeddings."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ibc_pyg.nn.model import ModelOutput


@dataclass(frozen=True)
class LossTerms:
    """The loss and what it is made of; scalars.

    Attributes:
        total: Weighted sum, to be minimised.
        nodes: Cross-entropy of the refined nodes, summed over the MPN's outputs, unweighted.
        auxiliary: Cross-entropy of the backbone embeddings, unweighted.
    """

    total: Tensor
    nodes: Tensor
    auxiliary: Tensor


class IntraBatchLoss(torch.nn.Module):
    r"""Label-smoothed, temperature-scaled cross-entropies (paper, section 3.5).

    .. math::
        L = w_n \sum_{s \in S} CE(z_s / T, y) + w_a CE(z_a / T, y)

    with the logits :math:`z_s` of the refined nodes of each output :math:`s` of the MPN and
    :math:`z_a` of the raw embeddings.

    Args:
        temperature: T > 0.
        label_smoothing: Share of the target spread over all classes, in [0, 1).
        node_weight: :math:`w_n`.
        auxiliary_weight: :math:`w_a`.
    """

    def __init__(
        self,
        temperature: float = 1.0,
        label_smoothing: float = 0.1,
        node_weight: float = 1.0,
        auxiliary_weight: float = 1.0,
    ) -> None:
        super().__init__()
        self.temperature = temperature
        self.label_smoothing = label_smoothing
        self.node_weight = node_weight
        self.auxiliary_weight = auxiliary_weight

    def forward(self, output: ModelOutput, labels: Tensor) -> LossTerms:
        """Return the terms of one batch.

        Args:
            output: Logits `[N, C]` of one batch.
            labels: Class numbers, int64 `[N]`, in `[0, C)`.
        """
        auxiliary = self._cross_entropy(output.auxiliary_logits, labels)
        nodes = [self._cross_entropy(logits, labels) for logits in output.node_logits]
        summed = torch.stack(nodes).sum() if nodes else torch.zeros_like(auxiliary)
        total = self.node_weight * summed + self.auxiliary_weight * auxiliary
        return LossTerms(total, summed, auxiliary)

    def _cross_entropy(self, logits: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(
            logits.float() / self.temperature, labels, label_smoothing=self.label_smoothing
        )
