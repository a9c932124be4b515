"""Trial of a loss on a small batch, which finds wrong arguments before training."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from ibc_pyg.errors import ConfigError, UserError, first_line
from ibc_pyg.losses.plugged import PluggedLoss
from ibc_pyg.losses.term import TermInput
from ibc_pyg.plugins.plug import described

_CLASSES, _IMAGES, _STEPS = 4, 4, 2


def try_out(name: str, loss: nn.Module, *, num_classes: int, embedding_size: int) -> None:
    """Compute a copy of a loss and its gradients twice, on random features.

    The features belong to the last 4 classes, or to fewer. Libraries check many arguments only when
    they use them. The loss and torch's generator are not changed.

    Args:
        name: Name of the loss, for messages.
        loss: Called with a `TermInput`.
        num_classes: Number C of training classes.
        embedding_size: Width D of the features.

    Raises:
        ConfigError: If the call fails, or does not give a scalar.
    """
    draws = torch.Generator().manual_seed(0)
    count = min(_CLASSES, num_classes)
    labels = torch.arange(num_classes - count, num_classes).repeat_interleave(_IMAGES)  # [N]
    value: object = None
    try:
        with torch.random.fork_rng(devices=[]), torch.enable_grad():
            trial = copy.deepcopy(loss)
            for _ in range(_STEPS):
                features = torch.randn(len(labels), embedding_size, generator=draws)  # [N, D]
                logits = torch.randn(len(labels), num_classes, generator=draws)  # [N, C]
                teacher = TermInput(features, logits, labels)
                features = features.clone().requires_grad_()  # [N, D]
                value = trial(TermInput(features, logits, labels, teacher))
                if isinstance(value, Tensor) and value.shape == () and value.requires_grad:
                    value.backward()  # type: ignore[no-untyped-call]
    except UserError:
        raise
    except Exception as error:  # a library may raise anything
        raise ConfigError(
            f"loss.terms: {name} cannot be computed with these arguments, for {num_classes} "
            f"classes and features of width {embedding_size}: {first_line(error)}"
        ) from error
    if isinstance(loss, PluggedLoss) and not bool(torch.as_tensor(value).isfinite().all()):
        loss.plug.refuse("a finite loss for random features", described(value))
    if not isinstance(value, Tensor) or value.shape != ():
        raise ConfigError(
            f"loss.terms: {name} does not give a scalar with these arguments; choose another "
            "reducer, such as {name: MeanReducer}"
        )
