"""Training loss: cross-entropies of refined nodes and backbone embeddings, and further terms."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ibc_pyg.losses.term import Features, Term, TermInput
from ibc_pyg.nn.model import ModelOutput
from ibc_pyg.nn.sampled_classes import SampledClasses
from ibc_pyg.parallel.collectives import gather_rows, share_weight, world_size
from ibc_pyg.parallel.random_states import main_process_draws


@dataclass(frozen=True)
class LossTerms:
    """The loss and its parts, all scalars.

    Attributes:
        total: Weighted sum.
        nodes: Cross-entropy of the refined nodes, summed over the MPN's outputs, unweighted.
        auxiliary: Cross-entropy of the backbone embeddings, unweighted.
        terms: Further terms by name, unweighted.
    """

    total: Tensor
    nodes: Tensor
    auxiliary: Tensor
    terms: dict[str, Tensor] = field(default_factory=dict)


class IntraBatchLoss(nn.Module):
    r"""Label-smoothed, temperature-scaled cross-entropies (paper, section 3.5).

    .. math::
        L = w_n \sum_{s \in S} CE(z_s / T, y) + w_a CE(z_a / T, y) + \sum_t w_t L_t

    with the logits :math:`z_s` of the refined nodes of each output :math:`s` of the MPN and
    :math:`z_a` of the raw embeddings. Further terms :math:`L_t` are computed on the embeddings or
    on the nodes of the last output, with several processes on those of all processes.

    Args:
        temperature: T > 0.
        label_smoothing: Fraction of the target distributed over all classes, in [0, 1).
        node_weight: :math:`w_n`.
        auxiliary_weight: :math:`w_a`.
        terms: The :math:`L_t`, with distinct names.
        sampled: Draws the classes of each step; None uses all.

    Attributes:
        sampled: As above.
        teacher_precision: Makes the block in which teachers run, such as autocast of the run.
    """

    def __init__(
        self,
        temperature: float = 1.0,
        label_smoothing: float = 0.1,
        node_weight: float = 1.0,
        auxiliary_weight: float = 1.0,
        terms: Sequence[Term] = (),
        sampled: SampledClasses | None = None,
    ) -> None:
        super().__init__()
        self.temperature = temperature
        self.label_smoothing = label_smoothing
        self.node_weight = node_weight
        self.auxiliary_weight = auxiliary_weight
        self._terms = nn.ModuleList(terms)
        self.sampled = sampled
        self.teacher_precision: Callable[[], AbstractContextManager[object]] = nullcontext

    @property
    def terms(self) -> list[Term]:
        """The further terms."""
        return [cast(Term, term) for term in self._terms]

    def forward(
        self,
        output: ModelOutput,
        labels: Tensor,
        images: Tensor | None = None,
        columns: Tensor | None = None,
    ) -> LossTerms:
        """Return the terms of one batch.

        Args:
            output: Logits `[N, C]` of one batch; of drawn classes `[N, S]`.
            labels: Class numbers, int64 `[N]`, in `[0, C)`.
            images: Images of the batch, `[N, C, H, W]`, for terms with a teacher.
            columns: Columns of the logits that are these classes, int64 `[N]`; None: the labels.
        """
        columns = labels if columns is None else columns
        auxiliary = self._cross_entropy(output.auxiliary_logits, columns)
        nodes = [self._cross_entropy(logits, columns) for logits in output.node_logits]
        summed = torch.stack(nodes).sum() if nodes else torch.zeros_like(auxiliary)
        if world_size() > 1:
            # The shares of the processes may differ in size.
            weight = share_weight(len(labels))
            auxiliary, summed = weight * auxiliary, weight * summed
        total = self.node_weight * summed + self.auxiliary_weight * auxiliary
        terms = {}
        # Further terms are computed on the rows of all processes.
        all_labels = gather_rows(labels) if self.terms else labels  # [M]
        kinds = dict.fromkeys(term.features for term in self.terms)
        inputs = {kind: _input(kind, output, all_labels) for kind in kinds}
        taught = [self._with_teacher(term, inputs[term.features], images) for term in self.terms]
        # A loss or a miner may sample pairs, the same ones in all processes.
        with main_process_draws(labels.device) if self.terms else nullcontext():
            for term, term_input in zip(self.terms, taught, strict=True):
                value = term(term_input)
                total = total + term.weight * value
                terms[term.name] = value
        return LossTerms(total, summed, auxiliary, terms)

    def _cross_entropy(self, logits: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(
            logits.float() / self.temperature, labels, label_smoothing=self.label_smoothing
        )

    def _with_teacher(self, term: Term, inputs: TermInput, images: Tensor | None) -> TermInput:
        if term.teacher is None:
            return inputs
        with torch.no_grad():
            with self.teacher_precision():
                output = term.teacher(images)
            teacher = _input(term.features, output, inputs.labels)
        return replace(inputs, teacher=teacher)


def _input(features: Features, output: ModelOutput, labels: Tensor) -> TermInput:
    of_nodes = features == "nodes"
    x = output.nodes[-1] if of_nodes else output.embedding
    logits = output.node_logits[-1] if of_nodes else output.auxiliary_logits
    return TermInput(gather_rows(x.float()), gather_rows(logits.float()), labels)
