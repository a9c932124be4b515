"""User errors, which the command line prints on one line before it exits with 2."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Something in the input is wrong; the message names the field or file and what to do."""


class ConfigError(UserError, ValueError):
    """A field of the configuration is out of range or does not fit the others."""


class DatasetError(UserError):
    """A data set, an annotation file or an image cannot be used as it is."""


class RunError(UserError):
    """A run folder, a checkpoint or the environment cannot do what was asked."""


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or its class name if it has none."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def did_you_mean(name: str, known: Iterable[str], otherwise: str = "") -> str:
    """Return the end of a message about an unknown name.

    Args:
        name: The unknown name.
        known: Names there are; case does not matter.
        otherwise: Advice where none of them is close; by default the known names.

    Returns:
        `did you mean A or B?`, or the advice.
    """
    names = {each.lower(): each for each in known}
    close = difflib.get_close_matches(name.lower(), names, n=3, cutoff=0.5)
    if close:
        return f"did you mean {' or '.join(names[each] for each in close)}?"
    return otherwise or f"choose one of {', '.join(names.values())}"
