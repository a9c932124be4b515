"""A term is tried on a small batch, so that a mistake in its arguments shows before training."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from ibc_pyg.errors import ConfigError, first_line
from ibc_pyg.losses.term import TermInput

_CLASSES, _IMAGES, _STEPS = 4, 4, 2


def try_out(name: str, loss: nn.Module, *, num_classes: int, embedding_size: int) -> None:
    """Take two steps with a copy of a loss, on drawn features.

    They are of up to 4 classes, those with the highest numbers. Libraries look at many arguments
    only when they compute with them. The loss and torch's generator are left as they are.

    Args:
        name: For the message.
        loss: Called with a `TermInput`.
        num_classes: C of the training classes.
        embedding_size: D of the features.

    Raises:
        ConfigError: If the call fails, or gives anything but one number.
    """
    draws = torch.Generator().manual_seed(0)
    count = min(_CLASSES, num_classes)
    labels = torch.arange(num_classes - count, num_classes).repeat_interleave(_IMAGES)  # [N]
    value: object = None
    try:
        with torch.random.fork_rng(devices=[]), torch.enable_grad():
            tried = copy.deepcopy(loss)
            for _ in range(_STEPS):
                features = torch.randn(len(labels), embedding_size, generator=draws)  # [N, D]
                logits = torch.randn(len(labels), num_classes, generator=draws)  # [N, C]
                teacher = TermInput(features, logits, labels)
                features = features.clone().requires_grad_()  # [N, D]
                value = tried(TermInput(features, logits, labels, teacher))
                if isinstance(value, Tensor) and value.shape == () and value.requires_grad:
                    value.backward()  # type: ignore[no-untyped-call]
    except Exception as error:  # whatever a library may say
        raise ConfigError(
            f"loss.terms: {name} cannot be computed with these arguments, for {num_classes} "
            f"classes and features of width {embedding_size}: {first_line(error)}"
        ) from error
    if not isinstance(value, Tensor) or value.shape != ():
        raise ConfigError(
            f"loss.terms: {name} gives no single number with these arguments; choose another "
            "reducer, such as {name: MeanReducer}"
        )
