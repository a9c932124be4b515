"""Further terms of the loss, and their input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn

from ibc_pyg.errors import RunError, UserError, first_line

Features = Literal["embeddings", "nodes"]
"""Raw backbone embeddings, or refined nodes."""


@dataclass(frozen=True)
class TermInput:
    """Input of a term for one batch.

    Attributes:
        features: Raw embeddings or refined nodes, float32 `[N, D]`.
        logits: Class logits of these features, float32 `[N, C]`.
        labels: Class numbers, int64 `[N]`, in `[0, C)`.
        teacher: The same from a teacher network, for distillation; None without one.
    """

    features: Tensor
    logits: Tensor
    labels: Tensor
    teacher: TermInput | None = None


class Term(nn.Module):
    """A loss with its input features and its weight in the sum.

    Args:
        name: Name in the logs.
        loss: Called with a `TermInput`, returns a scalar; may have parameters.
        features: Features that it is computed on.
        weight: Weight in the sum, >= 0.
        lr_factor: Factor of the learning rate for the parameters of the loss.
        teacher: A trained network whose outputs the loss imitates, called with the images.
    """

    def __init__(
        self,
        name: str,
        loss: nn.Module,
        features: Features = "embeddings",
        weight: float = 1.0,
        lr_factor: float = 1.0,
        teacher: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.name = name
        self.loss = loss
        self.features = features
        self.weight = weight
        self.lr_factor = lr_factor
        # A list hides it from nn.Module: it is neither trained nor saved with this module.
        self._teacher = [] if teacher is None else [teacher]

    @property
    def teacher(self) -> nn.Module | None:
        """The teacher network."""
        return self._teacher[0] if self._teacher else None

    def _apply(self, fn: Any, recurse: bool = True) -> Self:
        """Move the teacher too, which is not a submodule."""
        for teacher in self._teacher:
            teacher._apply(fn, recurse)  # type: ignore[no-untyped-call]
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return self

    def forward(self, inputs: TermInput) -> Tensor:
        """Return the unweighted loss, a scalar.

        Raises:
            RunError: If it cannot be computed for this batch.
        """
        try:
            value: Tensor = self.loss(inputs)
        except (torch.OutOfMemoryError, UserError):
            raise
        except Exception as error:  # a library may raise anything
            raise RunError(
                f"loss.terms: {self.name} cannot be computed for a batch: {first_line(error)}"
            ) from error
        return value
