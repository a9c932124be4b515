"""Conversion of experiment files and command-line options to a `Config`, and back."""

from __future__ import annotations

import dataclasses
import json
import re
from argparse import ArgumentError
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_type_hints

import yaml
from jsonargparse import ArgumentParser

from ibc_pyg.config import Config
from ibc_pyg.config.checks import check_key
from ibc_pyg.config.files.fields import from_parsed, make_parser, refuse_classes
from ibc_pyg.config.files.yaml_text import MAX_BYTES, load_document, load_text
from ibc_pyg.errors import ConfigError, did_you_mean, printable, program, reason
from ibc_pyg.files import read_bounded

_HINTS: dict[str, Any] = {
    f"{part.name}.{name}": hint
    for part in dataclasses.fields(Config)
    if dataclasses.is_dataclass(kind := get_type_hints(Config)[part.name])
    for name, hint in get_type_hints(kind).items()
}
"""The fields of all parts, such as `train.lr`, and their types."""
_EVERY_FIELD = "`train --help-fields` lists every field"
_KINDS = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "str": "a text",
    "dict": "a mapping, such as '{NAME: VALUE}'",
}
_LONGEST = 500


def config_parser(prog: str) -> ArgumentParser:
    """Return a parser with an option for every field of `Config`."""
    parser = make_parser(Config, prog)
    parser.add_argument("--config", action="config", help="Experiment file, YAML.")
    return parser


def parse_config(experiment: Path | None, overrides: Sequence[str]) -> Config:
    """Read an experiment file, then apply options.

    Args:
        experiment: YAML file; None for the defaults.
        overrides: Options such as `--model.heads 4`.

    Raises:
        ConfigError: If a key is unknown, a value is out of range, or the file cannot be read;
            the message names the key and the file.
    """
    if experiment is None:
        return _parse(list(overrides))
    from_file = ["--config", str(experiment)]
    try:
        config = _parse(from_file)
    except ConfigError as error:
        raise in_file(experiment, error) from error
    return _parse([*from_file, *overrides]) if overrides else config


def _parse(arguments: list[str]) -> Config:
    _check_words(arguments)
    try:
        parsed = config_parser("train").parse_args(_with_lists(arguments), env=False)
    except (ArgumentError, TypeError, ValueError, yaml.YAMLError) as error:
        raise ConfigError(_with_hint(_one_line(str(error)))) from error
    except RecursionError as error:
        raise ConfigError("values are nested too deeply, or contain themselves") from error
    return from_parsed(Config, parsed.as_dict())


def _with_lists(words: Iterable[str]) -> list[str]:
    """Return options with `a,b` for a list of texts written as `["a", "b"]`."""
    rest, found = iter(words), []
    for word in rest:
        option, equals, value = word.partition("=")
        if _HINTS.get(option.removeprefix("--")) != list[str]:
            found.append(word)
            continue
        if not equals:
            value = next(rest, "[]")
        if not isinstance(load_text(value), list | dict | NoneType):
            value = json.dumps([each.strip() for each in value.split(",")])
        found.append(f"{option}={value}")
    return found


def config_from_yaml(path: Path) -> Config:
    """Read a whole configuration; see `parse_config`."""
    return parse_config(path, [])


def config_to_dict(config: Config) -> dict[str, Any]:
    """Return the configuration as nested dictionaries."""
    return dataclasses.asdict(config)


def config_to_yaml(config: Config) -> str:
    """Return the resolved configuration as YAML."""
    return str(yaml.safe_dump(config_to_dict(config), sort_keys=False, allow_unicode=True))


def read_yaml(path: Path) -> Any:
    """Read a YAML file of plain data.

    Raises:
        ConfigError: If it cannot be read, is too large or not YAML, or exceeds a bound of
            `ibc_pyg.config.files.yaml_text`.
    """
    try:
        text = read_bounded(path, MAX_BYTES).decode("utf-8-sig")
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {reason(error)}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} cannot be read: it is not UTF-8 text") from error
    try:
        return load_document(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not YAML: {_one_line(str(error))}") from error
    except ConfigError as error:
        raise ConfigError(f"{path}, {error}") from error


def _check_file(path: Path) -> None:
    if not _is_file(path):
        raise ConfigError(
            f"{printable(path):.500} is not a file, nor a shipped experiment, which "
            f"`{program()} experiments` lists"
        )
    content = read_yaml(path)
    if content is not None and not isinstance(content, dict):
        raise ConfigError(f"{path} must hold fields, such as `model:`, not {content!r:.60}")
    known = {each.name for each in dataclasses.fields(Config)}
    for name, value in (content or {}).items():
        if name not in known:
            raise ConfigError(f"{path}: there is no field {name!r}; {_EVERY_FIELD}")
        if name not in ("select", "retrain") and not isinstance(value, dict):
            raise ConfigError(f"{path}: {name} must hold fields, not {value!r:.60}")
        try:
            refuse_classes(name, value)
        except ConfigError as error:
            raise in_file(path, error) from error


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # the name is too long
        return False


def _check_words(words: Iterable[str]) -> None:
    """Check options, and the files among them, before the parser reads them.

    Raises:
        ConfigError: If one names a class, or a file cannot be read.
    """
    rest, field = iter(words), ""
    for word in rest:
        option, equals, value = word.partition("=")
        if option == "--config":
            _check_file(Path(value if equals else next(rest, "")))
            continue
        if option.startswith("--"):
            field = option.removeprefix("--").removesuffix("+")
            for key in field.split("."):
                check_key(field, key)
        # The value of `--field=value`, or the word after `--field`.
        for text in (word, value):
            refuse_classes(field, text)


def in_file(path: Path, error: ConfigError) -> ConfigError:
    """Return the error with the name of the file as prefix, unless it has it already."""
    return error if str(error).startswith(str(path)) else ConfigError(f"{path}: {error}")


def _with_hint(message: str) -> str:
    """Return a message of the parser in terms of fields, with the advice that belongs to it."""
    wrong = re.fullmatch(
        r'Parser key "(.+?)": Expected a <class \'(\w+)\'>\.(?: Got value: )?(.*)', message
    )
    if wrong and wrong[2] == "list":
        item = _item(wrong[1])
        value = "VALUE" if item is None else f"{{{dataclasses.fields(item)[0].name}: VALUE}}"
        return f"{wrong[1]} must be a list, such as '[{value}]'"
    if wrong and wrong[2] in _KINDS:
        return f"{wrong[1]} must be {_KINDS[wrong[2]]}, not {wrong[3]}"
    if "unrecognized arguments" not in message.lower() and "is not accepted" not in message:
        return message
    unknown = re.match(r"[Uu]nrecognized arguments: --(\w+\.[\w.]+)", message)
    unknown = unknown or re.match(r"Option '(\w+\.[\w.]+)' is not accepted", message)
    if unknown:
        message = f"unknown field {unknown[1]}"
    close = did_you_mean(unknown[1], tuple(_HINTS), " ").strip() if unknown else ""
    return f"{message}; {f'{close} {_EVERY_FIELD}'.strip()}"


def _item(field: str) -> Any:
    """Return the dataclass that a field lists, or None."""
    found = [kind for kind in get_args(_HINTS.get(field)) if dataclasses.is_dataclass(kind)]
    return found[0] if found else None


def _one_line(message: str) -> str:
    text = " ".join(message.split())
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]} ..."
