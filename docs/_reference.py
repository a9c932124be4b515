"""Text of the reference: fields of an experiment from the dataclasses, commands from their help."""

from __future__ import annotations

import argparse
import dataclasses
import os
import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import docstring_parser

from ibc_pyg.cli import make_parser
from ibc_pyg.config import Config, TermConfig
from ibc_pyg.config.checks import Range
from ibc_pyg.config.files.shipped import shipped_names
from ibc_pyg.data.registry import DATASETS
from ibc_pyg.data.transforms import preset_names

EXPERIMENT = """# Fields of an experiment

An experiment is a YAML file with these fields, all of which have defaults; each is also an option
of the commands that train, such as `--model.heads 4`. `python run.py train --help-fields` prints
the same list, and `python run.py experiments glyphs` prints a whole experiment. This page is
written from the dataclasses in `ibc_pyg/config/`.
"""
COMMANDS = """# Commands

`python run.py COMMAND` in a checkout, `ibc-pyg COMMAND` once installed. This page is written from
the help of each command. A command ends with 0; with 2 after one line that says what is wrong in
the input; with 130 after Ctrl-C.
"""
KINDS = {
    "int": "whole number",
    "float": "number",
    "str": "text",
    "bool": "true or false",
    "NoneType": "none",
    "TermConfig": "term",
}
"""Types of fields in words."""


def experiment_page() -> str:
    """Return the page of all fields of `Config`."""
    lines = [EXPERIMENT]
    hints = get_type_hints(Config)
    parts = [
        each for each in dataclasses.fields(Config) if dataclasses.is_dataclass(hints[each.name])
    ]
    top = [each.name for each in dataclasses.fields(Config) if each not in parts]
    lines += ["## Top level\n", *_table(Config, "", only=top)]
    for part in parts:
        kind = hints[part.name]
        lines += [f"\n## {part.name}\n", f"{_first_line(kind)}\n", *_table(kind, f"{part.name}.")]
        if part.name == "loss":
            lines += ["\n### loss.terms\n", "Fields of each further term.\n"]
            lines += _table(TermConfig, "")
    lines += [
        "\n## Names\n",
        f"- `data.name`: {_names(DATASETS)}.",
        f"- `data.transform`: {_names(preset_names())}; see "
        "[presets of augmentation](../data.md#presets-of-augmentation).",
        "- `model.conv`: see [graph layers](../layers.md#layers-that-work).",
        f"- Shipped experiments: {_names(shipped_names())}.",
    ]
    return "\n".join(lines) + "\n"


def commands_page() -> str:
    """Return the page with the help of every command and subcommand."""
    os.environ["COLUMNS"] = "100"
    lines = [COMMANDS]
    for name, parser in _subparsers(make_parser()):
        lines += [f"\n## {name}\n", "```text", _help(parser), "```"]
        for inner, below in _subparsers(parser):
            lines += [f"\n### {name} {inner}\n", "```text", _help(below), "```"]
    return "\n".join(lines) + "\n"


def _help(parser: argparse.ArgumentParser) -> str:
    parser.prog = re.sub(r"^\S+", "run.py", parser.prog)
    return parser.format_help().rstrip()


def _subparsers(parser: argparse.ArgumentParser) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            yield from action.choices.items()


def _table(cls: Any, prefix: str, only: list[str] | None = None) -> list[str]:
    hints = get_type_hints(cls, include_extras=True)
    described = {
        each.arg_name: each.description or ""
        for each in docstring_parser.parse_from_object(cls).params
    }
    lines = ["| field | type | default | |", "|---|---|---|---|"]
    for each in dataclasses.fields(cls):
        if only is not None and each.name not in only:
            continue
        text = _cell(" ".join(described.get(each.name, "").split()))
        kind = _cell(_kind(hints[each.name]))
        lines.append(f"| `{prefix}{each.name}` | {kind} | {_default(each)} | {text} |")
    return lines


def _kind(hint: Any) -> str:
    """Return a type in words, with its range."""
    if get_origin(hint) is Annotated:
        base, *marks = get_args(hint)
        ranges = [_range(mark) for mark in marks if isinstance(mark, Range)]
        return " ".join([_kind(base), *ranges])
    if get_origin(hint) is Literal:
        return ", ".join(f"`{value}`" for value in get_args(hint))
    if isinstance(hint, type) and not get_args(hint):
        return KINDS.get(hint.__name__, hint.__name__)
    if get_origin(hint) is list:
        return f"list: {_kind(get_args(hint)[0])}"
    if get_origin(hint) is dict:
        return "mapping"
    return " or ".join(_kind(each) for each in get_args(hint))


def _range(bounds: Range) -> str:
    return f"in {bounds}"


def _default(field: dataclasses.Field[Any]) -> str:
    if field.default is not dataclasses.MISSING:
        value = field.default
    elif field.default_factory is not dataclasses.MISSING:
        value = field.default_factory()
    else:
        return "needed"
    words = {None: "none", True: "true", False: "false"}
    shown = words[value] if value is None or isinstance(value, bool) else str(value)
    return f"`{_cell(shown)}`" if shown else "empty"


def _first_line(kind: Any) -> str:
    return (kind.__doc__ or "").strip().splitlines()[0]


def _names(names: Any) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
