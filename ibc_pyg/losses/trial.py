"""A term is tried on a small batch, so that a mistake in its arguments shows before training."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from ibc_pyg.errors import ConfigError
from ibc_pyg.losses.term import TermInput
from ibc_pyg.nn.backbones.weights import first_line

_CLASSES, _IMAGES = 4, 4


def try_out(name: str, loss: nn.Module, *, num_classes: int, embedding_size: int) -> None:
    """Call a copy of a loss on drawn features of up to 4 classes, those with the highest numbers.

    Libraries look at many arguments only when they compute with them. The loss and torch's
    generator are left as they are.

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
    features = torch.randn(len(labels), embedding_size, generator=draws)  # [N, D]
    logits = torch.randn(len(labels), num_classes, generator=draws)  # [N, C]
    teacher = TermInput(features, logits, labels)
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            value = copy.deepcopy(loss)(TermInput(features, logits, labels, teacher))
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
