"""Parts of a network that are not trained: no gradient, and normalisations that keep still."""

from __future__ import annotations

import difflib
from collections.abc import Collection

from torch import nn

from ibc_pyg.errors import ConfigError

NEW_LAYERS = ("embedding", "pooling")
"""Children of a backbone that published weights do not fill."""


def is_within(name: str, parts: Collection[str]) -> bool:
    """Tell whether a parameter or module called `name` belongs to one of `parts`."""
    return any(name == part or name.startswith(f"{part}.") for part in parts)


def freeze_parameters(module: nn.Module, parts: Collection[str]) -> None:
    """Take the gradient from the parameters within `parts`, and give it to all others.

    A parameter without gradient is passed over by the optimiser: it has neither weight decay nor
    moments.
    """
    for name, parameter in module.named_parameters():
        frozen = is_within(name, parts)
        parameter.requires_grad_(not frozen)
        if frozen:
            parameter.grad = None


def keep_statistics(module: nn.Module, parts: Collection[str] | None = None) -> None:
    """Put batch normalisations into evaluation mode: those within `parts`, or all."""
    for name, child in module.named_modules():
        is_norm = isinstance(child, nn.modules.batchnorm._BatchNorm)
        if is_norm and (parts is None or is_within(name, parts)):
            child.eval()


def body_of(backbone: nn.Module) -> tuple[str, ...]:
    """Return the names of a backbone's children without the layers that are new."""
    children = [name for name, _ in backbone.named_children()]
    return tuple(name for name in children if name not in NEW_LAYERS)


def check_parts(backbone: nn.Module, parts: Collection[str]) -> None:
    """Refuse a part that the backbone has not.

    Raises:
        ConfigError: It names the part and what is near.
    """
    names = [name for name, _ in backbone.named_parameters()]
    for part in parts:
        if not any(is_within(name, (part,)) for name in names):
            known = dict.fromkeys(
                ".".join(name.split(".")[: part.count(".") + 1]) for name in names
            )
            near = difflib.get_close_matches(part, known, n=3, cutoff=0.4) or list(known)[:8]
            raise ConfigError(
                f"model.freeze: the backbone has no part {part!r}; it has {', '.join(near)}"
            )
