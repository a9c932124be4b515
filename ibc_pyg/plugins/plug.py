"""A class or function of the user in the place of a part: construction, calls, checks."""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, NoReturn

from ibc_pyg.errors import ConfigError, UserError, check_arguments, printable, reason
from ibc_pyg.plugins.entry_points import entry_point
from ibc_pyg.plugins.kinds import KINDS, Kind
from ibc_pyg.plugins.loading import MARK, load_object
from ibc_pyg.plugins.reference import is_reference, parse_reference, short_name


@dataclass(frozen=True)
class Plug:
    """A class or function of the user in the place of a part.

    Attributes:
        kind: Kind of the part.
        text: Reference or entry point, as the configuration has it.
        target: The class or function.
    """

    kind: Kind
    text: str
    target: Callable[..., Any]

    @property
    def name(self) -> str:
        """Name of the class or function."""
        return short_name(self.text)

    def make(self, args: Mapping[str, Any], **supplied: Any) -> Any:
        """Call the class or function.

        Args:
            args: Arguments of the user.
            **supplied: Further arguments, of which it gets those that it names.

        Raises:
            ConfigError: If an argument is unknown, or the call fails.
        """
        named = named_arguments(self.target)
        given = {key: value for key, value in supplied.items() if key in named}
        self._check(args)
        with self.errors("cannot be made"):
            return self.target(**{**given, **args})

    def function(self, args: Mapping[str, Any]) -> Callable[..., Any]:
        """Return the function with these arguments, or the instance of a class made with them.

        Raises:
            ConfigError: If an argument is unknown, a class cannot be constructed, or its instance
                cannot be called.
        """
        if inspect.isclass(self.target):
            made = self.make(args)
            if not callable(made):
                self.refuse("an instance that can be called", "one without __call__")
            return made  # type: ignore[no-any-return]
        self._check(args)
        return partial(self.target, **args) if args else self.target

    def refuse(self, expected: str, came: object) -> NoReturn:
        """Raise ConfigError: something else was expected than what came."""
        raise ConfigError(
            f"{self.kind.place}: {printable(self.text)}: expected {expected}, not {came}"
        )

    @contextmanager
    def errors(self, what: str = "failed") -> Iterator[None]:
        """Raise exceptions of the user's code as ConfigError that names it.

        Args:
            what: What it did, for the message.
        """
        try:
            yield
        except UserError:
            raise
        except Exception as error:  # code of the user may raise anything
            if type(error).__name__ == "OutOfMemoryError":  # torch's, of the machine
                raise
            raise ConfigError(
                f"{self.kind.place}: {printable(self.text)} {what}: {type(error).__name__}: "
                f"{reason(error)}"
            ) from error

    def __reduce__(self) -> tuple[Any, ...]:
        """Import it again in another process, such as one that reads images."""
        return load_plug, (self.kind.name, self.text)

    def _check(self, args: Mapping[str, Any]) -> None:
        if args:
            with self.errors("has no signature"):
                check_arguments(self.target, args, what=f"{self.kind.args}: {self.text}")


def find_plug(kind: str, name: str) -> Plug | None:
    """Import the code of the user that a name in a configuration refers to.

    Args:
        kind: Key of `KINDS`.
        name: A reference, the name of an entry point, or any other name.

    Returns:
        The plug; None if the name is neither a reference nor an entry point.

    Raises:
        ConfigError: If it cannot be imported, or can be neither called nor constructed.
    """
    field = KINDS[kind].place
    text = name if is_reference(name) else entry_point(name)
    if text is None:
        return None
    target = load_object(parse_reference(text, field), name, field)
    plug = Plug(KINDS[kind], name, target)
    if not callable(target):
        plug.refuse(plug.kind.expected, described(target))
    return plug


def load_plug(kind: str, name: str) -> Plug:
    """Import the code of the user; see `find_plug`.

    Raises:
        ConfigError: Also if the name is neither a reference nor an entry point.
    """
    plug = find_plug(kind, name)
    if plug is None:
        raise ConfigError(
            f"{KINDS[kind].place}: {name!r} is unknown; give FILE.py:NAME, package.module:NAME or "
            "the name of an entry point in ibc_pyg.plugins"
        )
    return plug


def named_arguments(target: Callable[..., Any]) -> set[str]:
    """Return the argument names of a callable, or of a class and the bases it passes **kwargs to.

    Without a signature, as of some functions in C, there are none.
    """
    own = (
        [vars(base).get("__init__") for base in target.__mro__]
        if inspect.isclass(target)
        else [target]
    )
    names: set[str] = set()
    for function in filter(None, own):
        try:
            parameters = inspect.signature(function).parameters.values()
        except (TypeError, ValueError):
            return names
        names |= {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
        if all(p.kind != p.VAR_KEYWORD for p in parameters):
            break
    return names - {"self"}


def described(value: object) -> str:
    """Return a phrase for a value of a wrong kind: its class, and shape and type of a tensor."""
    kind = value.__name__ if isinstance(value, type) else type(value).__name__
    if (shape := getattr(value, "shape", None)) == () and hasattr(value, "item"):
        return f"{value.item()!r:.60}"
    if shape is not None:
        return f"{kind} {list(shape)} of {getattr(value, 'dtype', '')}"
    if isinstance(value, type):
        return f"the class {kind}"
    return f"{value!r:.60}" if value is None or isinstance(value, float | int | str) else kind


def blamed(error: BaseException) -> str | None:
    """Return the place in a user's code that an exception comes from, `FILE, line N`.

    Returns:
        The innermost frame of the traceback in a module imported for a reference; None if there
        is no such frame.
    """
    found = None
    for frame, line in traceback.walk_tb(error.__traceback__):
        if (place := frame.f_globals.get(MARK)) is not None:
            found = f"{place}, line {line}"
    return found
