"""Command-line parser of the fields of a dataclass, and conversion of its result.

jsonargparse instantiates classes that are named in values of the types `Any`, class and callable.
This parser therefore has one option per field with a plain type, and this module constructs the
dataclasses.
"""

from __future__ import annotations

from argparse import ArgumentError
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import docstring_parser
from jsonargparse import ArgumentParser
from jsonargparse.typing import register_type

from ibc_pyg.config.checks import CLASS_KEYS, check_key, walk
from ibc_pyg.config.files.yaml_text import load_text
from ibc_pyg.errors import ConfigError, did_you_mean, printable

T = TypeVar("T")

_TEXTS = 8


class Plain:
    """Type of the parser for `Any`: a value read as YAML, and never an object of a class."""


register_type(
    Plain,
    serializer=lambda value: value,
    deserializer=lambda value: load_text(value) if isinstance(value, str) else value,
    type_check=lambda value, kind: False,
    fail_already_registered=False,
)


def refuse_classes(name: str, value: Any, level: int = 0) -> None:
    """Check that no key in the input of a parser names a class.

    The parser may read a text as YAML, so the YAML value of each text is checked, too.

    Args:
        name: Name of the field, for the message.
        value: A value from YAML, or the text of an option.
        level: Number of texts that hold this one.

    Raises:
        ConfigError: Naming the field and the key, or the field whose text exceeds the bounds of
            YAML.
    """
    for path, each in walk(value, name):
        if isinstance(each, dict):
            for key in each:
                if key in CLASS_KEYS:
                    check_key(path, key)
        elif isinstance(each, str):
            try:
                loaded = load_text(each)
            except ConfigError as error:
                raise ConfigError(f"{path}: {error}" if path else str(error)) from error
            if loaded == each:
                continue
            if level == _TEXTS:
                raise ConfigError(f"{path}: there are more than {_TEXTS} texts within each other")
            refuse_classes(path, loaded, level + 1)


def make_parser(cls: type, prog: str) -> ArgumentParser:
    """Return a parser with an option for every field of a dataclass, nested as `--part.field`.

    Raises:
        TypeError: If the type of a field allows more than plain data.
    """
    parser = ArgumentParser(
        prog=prog,
        exit_on_error=False,
        allow_abbrev=False,
        add_help=False,
        parser_mode="yaml",
        print_config=None,
    )
    _add_fields(parser, cls, "", _descriptions(cls).get("", ""))
    return parser


def from_parsed(cls: type[T], values: Mapping[str, Any], name: str = "") -> T:
    """Construct a dataclass and those nested in it from the result of its parser.

    Args:
        cls: The dataclass.
        values: Values by field; those of a nested dataclass are a mapping.
        name: Name of the field that holds the dataclass, for messages.

    Raises:
        ConfigError: If a value is out of range, or a dataclass in a list lacks a field.
    """
    hints = get_type_hints(cls)
    found = {}
    for each in _fields(cls):
        value, hint = values[each.name], hints[each.name]
        path = f"{name}.{each.name}" if name else each.name
        if value is None and NoneType not in (hint, *get_args(hint)):
            raise ConfigError(f"{path} is empty; give a value, or leave the field out")
        if isinstance(hint, type) and is_dataclass(hint):
            value = from_parsed(hint, value, path)
        elif item := _listed(hint):
            value = [_item(item, one, path) for one in value]
        found[each.name] = value
    return cls(**found)


def _item(cls: type[T], values: Mapping[str, Any], name: str) -> T:
    known = [each.name for each in _fields(cls)]
    for key in values:
        if (field := str(key).partition(".")[0]) not in known:
            hint = did_you_mean(field, known)
            raise ConfigError(f"{name}: unknown field {printable(field)}; {hint}")
    try:
        parsed = make_parser(cls, name).parse_object(dict(values), env=False)
    except (ArgumentError, TypeError, ValueError) as error:
        raise ConfigError(f"{name}: {' '.join(str(error).split())}") from error
    return from_parsed(cls, parsed.as_dict(), name)


def _add_fields(parser: ArgumentParser, cls: type, prefix: str, title: str) -> None:
    hints, descriptions = get_type_hints(cls), _descriptions(cls)
    parts = [each for each in _fields(cls) if is_dataclass(hints[each.name])]
    group = parser.add_argument_group(title)
    for each in _fields(cls):
        hint, text = hints[each.name], descriptions.get(each.name, "")
        if each in parts:
            continue
        if item := _listed(hint):
            text += f" Fields of each: {', '.join(one.name for one in _fields(item))}."
        needed = each.default is MISSING and each.default_factory is MISSING
        more: dict[str, Any] = {"required": True} if needed else {"default": _default(each)}
        group.add_argument(f"--{prefix}{each.name}", type=plain_type(hint), help=text, **more)
    for each in parts:
        name = each.name
        _add_fields(
            parser, hints[name], f"{prefix}{name}.", descriptions.get(name, name).rstrip(".")
        )


def plain_type(hint: Any) -> Any:
    """Return the type of a field for the parser.

    Raises:
        TypeError: If the type allows more than plain data.
    """
    if hint == dict[str, Any]:
        return dict[str, Plain]
    if _listed(hint):
        return list[dict[str, Plain]]
    origin, inner = get_origin(hint), get_args(hint)
    if hint in (NoneType, bool, int, float, str) or origin is Literal:
        return hint
    if origin in (Union, UnionType):
        return Union[tuple(plain_type(each) for each in inner)]  # noqa: UP007
    if origin is list:
        return list[plain_type(inner[0])]  # type: ignore[misc]
    raise TypeError(f"a field of a configuration cannot be {hint}: it holds plain data only")


def _listed(hint: Any) -> Any:
    """Return the dataclass D of the type `list[D]`; None for any other type."""
    inner = get_args(hint)
    return inner[0] if get_origin(hint) is list and is_dataclass(inner[0]) else None


def _fields(cls: Any) -> tuple[Field[Any], ...]:
    return fields(cls)


def _default(each: Field[Any]) -> Any:
    return each.default if each.default_factory is MISSING else each.default_factory()


@cache
def _descriptions(cls: type) -> dict[str, str]:
    """Return the docstrings of the fields by name, and that of the class under ''."""
    parsed = docstring_parser.parse_from_object(cls)
    of_fields = {each.arg_name: each.description or "" for each in parsed.params}
    return {"": (parsed.short_description or "").rstrip("."), **of_fields}
