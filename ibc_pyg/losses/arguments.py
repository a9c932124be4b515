"""Losses and miners from user arguments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from ibc_pyg.errors import ConfigError, accepted_arguments, check_arguments, first_line


def check_mapping(owner: str, args: Any) -> Mapping[str, Any]:
    """Return `args` if it is a mapping.

    Raises:
        ConfigError: If it is not.
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
        args: Its arguments; they override `sizes`.
        sizes: Arguments that are supplied if the class has them.

    Raises:
        ConfigError: If an argument is unknown or out of range; the message names both.
    """
    check_arguments(kind, args, what=f"loss.terms: {kind.__name__}")
    accepted = accepted_arguments(kind) or set()
    supplied = {key: value for key, value in (sizes or {}).items() if key in accepted}
    try:
        return kind(**{**supplied, **args})
    except ConfigError:
        raise
    except Exception as error:  # a library may raise anything
        reason = first_line(error) if str(error) else f"its arguments do not fit: {dict(args)}"
        raise ConfigError(f"loss.terms: {kind.__name__}: {reason}") from error
