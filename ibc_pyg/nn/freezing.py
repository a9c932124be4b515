"""Freezing of parameters and batch-norm statistics."""

from __future__ import annotations

from collections.abc import Collection

from torch import nn

from ibc_pyg.errors import ConfigError, did_you_mean

NEW_LAYERS = ("embedding", "pooling")
"""Children of a backbone that published weights do not contain."""


def is_within(name: str, parts: Collection[str]) -> bool:
    """Return whether the parameter or module `name` belongs to one of `parts`."""
    return any(name == part or name.startswith(f"{part}.") for part in parts)


def freeze_parameters(module: nn.Module, parts: Collection[str]) -> None:
    """Disable the gradient of the parameters within `parts`, and enable it for all others.

    The optimiser skips a parameter without gradient: it has neither weight decay nor moments.
    """
    for name, parameter in module.named_parameters():
        frozen = is_within(name, parts)
        parameter.requires_grad_(not frozen)
        if frozen:
            parameter.grad = None


def keep_statistics(module: nn.Module, parts: Collection[str] | None = None) -> None:
    """Set batch normalisations to evaluation mode: those within `parts`, or all."""
    for name, child in module.named_modules():
        is_norm = isinstance(child, nn.modules.batchnorm._BatchNorm)
        if is_norm and (parts is None or is_within(name, parts)):
            child.eval()


def body_of(backbone: nn.Module) -> tuple[str, ...]:
    """Return the names of a backbone's children except `NEW_LAYERS`."""
    children = [name for name, _ in backbone.named_children()]
    return tuple(name for name in children if name not in NEW_LAYERS)


def check_parts(backbone: nn.Module, parts: Collection[str]) -> None:
    """Check that the backbone has all `parts`.

    Raises:
        ConfigError: Naming the first unknown part, and the closest ones.
    """
    names = [name for name, _ in backbone.named_parameters()]
    for part in parts:
        if not any(is_within(name, (part,)) for name in names):
            depth = part.count(".") + 1
            known = list(dict.fromkeys(".".join(name.split(".")[:depth]) for name in names))
            hint = did_you_mean(part, known, otherwise=f"it has {', '.join(known[:8])}")
            raise ConfigError(f"model.freeze: the backbone has no part {part!r}; {hint}")
