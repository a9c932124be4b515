"""Experiment files and command-line options to a `Config`, and back."""

from __future__ import annotations

import dataclasses
from argparse import ArgumentError
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ArgumentParser, set_parsing_settings

from ibc_pyg.config import Config
from ibc_pyg.errors import ConfigError


def config_parser(prog: str) -> ArgumentParser:
    """Return a parser that takes every field of `Config` as an option."""
    set_parsing_settings(docstring_parse_attribute_docstrings=True)
    parser = ArgumentParser(prog=prog, exit_on_error=False, allow_abbrev=False, parser_mode="yaml")
    parser.add_argument("--config", action="config", help="Experiment file, YAML.")
    parser.add_class_arguments(Config, None)
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
    _check_file(experiment)
    from_file = ["--config", str(experiment)]
    try:
        config = _parse(from_file)
    except ConfigError as error:
        raise ConfigError(f"{experiment}: {error}") from error
    return _parse([*from_file, *overrides]) if overrides else config


def _parse(arguments: list[str]) -> Config:
    parser = config_parser("train")
    try:
        fields = parser.instantiate(parser.parse_args(arguments))
    except ConfigError:
        raise
    except (ArgumentError, TypeError, ValueError, yaml.YAMLError) as error:
        raise ConfigError(_explained(_one_line(str(error)))) from error
    return Config(**{field.name: fields[field.name] for field in dataclasses.fields(Config)})


def config_from_yaml(path: Path) -> Config:
    """Read a whole configuration; see `parse_config`."""
    return parse_config(path, [])


def config_to_dict(config: Config) -> dict[str, Any]:
    """Return the configuration as nested dictionaries."""
    return dataclasses.asdict(config)


def config_to_yaml(config: Config) -> str:
    """Return the full resolved configuration as YAML."""
    return str(yaml.safe_dump(config_to_dict(config), sort_keys=False, allow_unicode=True))


def _check_file(path: Path) -> None:
    if not path.is_file():
        raise ConfigError(
            f"{path} is not a file; give an experiment file such as those in experiments/"
        )
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not YAML: {_one_line(str(error))}") from error
    if content is not None and not isinstance(content, dict):
        raise ConfigError(f"{path} must hold fields, such as `model:`, not {content!r:.60}")
    parts = {each.name for each in dataclasses.fields(Config)} - {"select", "retrain"}
    for name, value in (content or {}).items():
        if name in parts and not isinstance(value, dict):
            raise ConfigError(f"{path}: {name} must hold fields of its own, not {value!r:.60}")


def _explained(message: str) -> str:
    unknown = "unrecognized arguments" in message or "is not accepted" in message
    return f"{message}; `train --help-fields` lists every field" if unknown else message


def _one_line(message: str) -> str:
    return " ".join(message.split())
