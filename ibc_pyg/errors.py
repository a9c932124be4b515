"""User errors, which the command line prints on one line before it exits with 2."""

from __future__ import annotations

import difflib
import errno
import inspect
import os
import re
import sys
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Any

# The allocators of torch raise RuntimeError.
_NO_MEMORY = re.compile("(can't|cannot) allocate memory|not enough memory|out of memory")


class UserError(Exception):
    """Something in the input is wrong; the message names the field or file and what to do."""


class ConfigError(UserError, ValueError):
    """A field of the configuration is out of range or does not fit the others."""


class DatasetError(UserError):
    """A data set, an annotation file or an image cannot be used as it is."""


class RunError(UserError):
    """A run folder, a checkpoint or the environment cannot do what was asked."""


class InUseError(RunError):
    """Another process works in the folder."""


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or its class name if it has none."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def program() -> str:
    """Return the words that start a command, for advice: `ibc-pyg`, or `python run.py`."""
    checkout = (Path(__file__).resolve().parents[1] / "run.py").is_file()
    return "python run.py" if checkout and Path(sys.argv[0]).stem != "ibc-pyg" else "ibc-pyg"


def printable(text: Path | str, keep: str = "") -> str:
    """Return a text without characters that a terminal or a page acts on instead of showing them.

    Control characters, line breaks, marks of direction, invisible characters and undecodable bytes
    of a file name are escaped as in a Python string.

    Args:
        text: A text of any origin.
        keep: Such characters that are not escaped.
    """
    text = str(text)
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() or each in keep else ascii(each)[1:-1] for each in text
    )


def shown(text: str, width: int = 60) -> str:
    """Return `text` quoted, on one line and cut to `width` characters."""
    return repr(text if len(text) <= width else text[: width - 3] + "...")


def reason(error: BaseException) -> str:
    """Return an error's message on one printable line of at most about 200 characters."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return printable(" ".join(text.split())[:200]) or type(error).__name__


def exhausted(error: BaseException) -> str | None:
    """Return the message of an error of the machine: no memory, no space, no file to be opened.

    Args:
        error: An error that nothing closer to its origin has caught.

    Returns:
        A sentence with a remedy, or None if the error is one of the program.
    """
    text = str(error)
    if isinstance(error, RecursionError):
        return "the input is nested too deeply; flatten it"
    if isinstance(error, MemoryError) or _NO_MEMORY.search(text):
        return "there is not enough memory; use smaller images or batches, or another machine"
    if "Too many open files" in text or getattr(error, "errno", None) == errno.EMFILE:
        return "too many files are open; raise the limit: ulimit -n 1024"
    if not isinstance(error, OSError):
        return None
    place = f"{printable(os.fsdecode(error.filename))}: " if error.filename else ""
    if not place and error.errno == errno.ENOSPC:
        place = "the output cannot be written: "
    return f"{place}{reason(error)}"


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


def accepted_arguments(kind: Callable[..., Any]) -> set[str] | None:
    """Return the names of the arguments that a class or function takes.

    Where a class passes **kwargs on, the arguments of its base classes are included.

    Returns:
        The names, or None if **kwargs accept any name.
    """
    parameters, takes_any = constructor_parameters(kind)
    return None if takes_any else set(parameters)


def constructor_parameters(kind: Callable[..., Any]) -> tuple[dict[str, inspect.Parameter], bool]:
    """Return the named arguments of a class or function; see `accepted_arguments`.

    Returns:
        Each argument by its name, and whether **kwargs accept any further name.
    """
    own = [vars(base).get("__init__") for base in kind.__mro__] if inspect.isclass(kind) else [kind]
    named: dict[str, inspect.Parameter] = {}
    for function in filter(None, own):
        parameters = inspect.signature(function).parameters.values()
        for each in parameters:
            if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY) and each.name != "self":
                named.setdefault(each.name, each)
        if all(each.kind != each.VAR_KEYWORD for each in parameters):
            return named, False
    return named, True


def check_arguments(
    kind: Callable[..., Any], args: Iterable[str], *, what: str, reserved: Collection[str] = ()
) -> None:
    """Check that a class or function takes the arguments that a user gave.

    Args:
        kind: The class or function.
        args: Names of the arguments, or a mapping from them.
        what: Beginning of the message: the field and the owner of the arguments.
        reserved: Arguments that are set elsewhere and cannot be given.

    Raises:
        ConfigError: Naming the first unknown argument, and the closest one there is.
    """
    accepted = accepted_arguments(kind)
    if accepted is None:
        accepted = set(args)
    known = sorted(accepted - set(reserved))
    for name in args:
        if name not in known:
            hint = did_you_mean(name, known, otherwise="" if known else "it takes none")
            raise ConfigError(f"{what} has no argument {name!r}; {hint}")
