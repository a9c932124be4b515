"""Losses and miners from arguments that a person wrote."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from torch import nn

from ibc_pyg.errors import ConfigError, first_line


def accepted_arguments(kind: type[nn.Module]) -> set[str]:
    """Return the arguments of a class; those behind **kwargs are its bases'."""
    accepted: set[str] = set()
    for base in inspect.getmro(kind):
        if base is nn.Module:
            break
        own = vars(base).get("__init__")
        if own is None:
            continue
        parameters = inspect.signature(own).parameters.values()
        accepted |= {
            each.name
            for each in parameters
            if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)
        }
    return accepted - {"self"}


def check_mapping(owner: str, args: Any) -> Mapping[str, Any]:
    """Return arguments as they are.

    Raises:
        ConfigError: If they are none by name.
    """
    if not isinstance(args, Mapping):
        raise ConfigError(f"loss.terms: the args of {owner} must be {{name: value}}, not {args}")
    return args


def make_from_arguments(
    kind: type[nn.Module], args: Mapping[str, Any], sizes: Mapping[str, int] | None = None
) -> nn.Module:
    """Make a loss, a miner or a part of one.

    Args:
        kind: Its class.
        args: Its arguments; they win over `sizes`.
        sizes: Arguments that are filled in where the class has them.

    Raises:
        ConfigError: If an argument is unknown or out of range; names both.
    """
    accepted = accepted_arguments(kind)
    if unknown := sorted(set(args) - accepted):
        raise ConfigError(
            f"loss.terms: {kind.__name__} has no argument {unknown[0]!r}; there are "
            f"{sorted(accepted)}"
        )
    filled = {key: value for key, value in (sizes or {}).items() if key in accepted}
    try:
        return kind(**{**filled, **args})
    except ConfigError:
        raise
    except Exception as error:  # whatever a library may say
        said = first_line(error) if str(error) else f"its arguments do not fit: {dict(args)}"
        raise ConfigError(f"loss.terms: {kind.__name__}: {said}") from error
