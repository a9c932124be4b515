"""Statistics of a step besides its losses: gradient norms and attention."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.nn.utils import get_total_norm

from ibc_pyg.nn.model import IntraBatchModel, ModelOutput
from ibc_pyg.parallel.collectives import gather_rows
from ibc_pyg.parallel.precision import gradient_scaler
from ibc_pyg.training.monitor.attention_statistics import (
    attention_of,
    attention_statistics,
    has_attention,
)


class StepStatistics:
    """Statistics between the backward pass and the optimiser step; changes no state of training.

    Args:
        fabric: Owner of the gradient scaler, whose scale is divided out.
        model: The bare model.
        loss: Its parameters are reported separately.
        attention_every: Steps between records of attention; 0: never.
    """

    def __init__(
        self, fabric: Fabric, model: IntraBatchModel, loss: nn.Module, attention_every: int
    ) -> None:
        self._fabric, self._model, self._loss = fabric, model, loss
        self._every = attention_every if has_attention(model) else 0
        self._record = self._attention_due = False
        self._found: dict[str, Tensor] = {}

    def schedule(self, step: int, *, record: bool) -> bool:
        """Prepare for a step.

        Args:
            step: Its number, from 1.
            record: Whether the step is recorded anyway.

        Returns:
            Whether the step is recorded, as each step with attention is.
        """
        self._attention_due = self._every > 0 and step % self._every == 0
        self._record = record or self._attention_due
        return self._record

    def observe(self, output: ModelOutput, labels: Tensor) -> None:
        """Observe the step if it is recorded; all processes must call it together.

        Args:
            output: Output of the model for the batch.
            labels: Classes of the batch, int64 `[N]`.
        """
        if not self._record:
            return
        self._found = gradient_norms(self._model, self._loss, scale=self._scale())
        if self._attention_due:
            # The attention of the whole graph, as one process would compute it.
            embedding = gather_rows(output.embedding.detach().float())  # [N, D]
            if bool(torch.isfinite(embedding).all()):
                self._found |= self._attention(embedding, gather_rows(labels))

    def total_norm(self) -> Tensor | None:
        """Return the norm of the whole gradient; None if this step is not observed."""
        parts = [value for name, value in self._found.items() if name.startswith("grad_norm/")]
        return torch.stack(parts).norm() if parts else None

    def collect(self) -> dict[str, Tensor]:
        """Return and clear the statistics of the last observed step, scalars by their names."""
        found, self._found = self._found, {}
        return found

    def _attention(self, embedding: Tensor, labels: Tensor) -> dict[str, Tensor]:
        mpn = self._model.mpn
        assert mpn is not None
        found: dict[str, Tensor] = {}
        layers = [step.conv for step in mpn.steps]
        for number, (conv, alpha) in enumerate(
            zip(layers, attention_of(self._model, embedding), strict=True)
        ):
            place = "attention" if len(layers) == 1 else f"attention/step{number}"
            null_node = bool(getattr(conv, "null_node", False))
            values = attention_statistics(alpha, labels, null_node=null_node)
            found |= {f"{place}/{name}": value for name, value in values.items()}
        return found

    def _scale(self) -> float:
        """Return the scale of 16-bit gradients; 1 if they are not scaled."""
        scaler = gradient_scaler(self._fabric)
        return 1.0 if scaler is None else float(scaler.get_scale())


def gradient_norms(
    model: IntraBatchModel, loss: nn.Module, *, scale: float = 1.0
) -> dict[str, Tensor]:
    """Return the Euclidean norm of the gradient of each trained part, scalars.

    Args:
        model: Its parts are backbone, MPN and heads.
        loss: Another part if it has parameters, such as proxies.
        scale: Scale of the gradients, which is divided out.
    """
    mpn: Iterable[nn.Parameter] = () if model.mpn is None else model.mpn.parameters()
    parts: dict[str, Iterable[nn.Parameter]] = {
        "backbone": model.backbone.parameters(),
        "mpn": mpn,
        "heads": [*model.node_heads.parameters(), *model.auxiliary_head.parameters()],
        "loss": loss.parameters(),
    }
    norms = {}
    for name, parameters in parts.items():
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        if gradients:
            norms[f"grad_norm/{name}"] = get_total_norm(gradients) / scale
    return norms
