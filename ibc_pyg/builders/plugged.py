"""Plugged code of an experiment: its names, whether it is trusted, and a run's copies of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, TypeVar

from ibc_pyg.config import Config
from ibc_pyg.errors import RunError, printable
from ibc_pyg.nn.conv.user_conv import user_code
from ibc_pyg.runs.source_record import kept_references, named_file, read_sources

Value = TypeVar("Value")


def plugged_code(config: Config) -> frozenset[str]:
    """Return the classes and functions of an experiment that are neither PyG's nor this package's.

    Returns:
        References, each `path/to/file.py:Name` or `package.module.Name`.
    """
    return user_code(config.model)


def check_code(config: Config, run: Path, *, trust: bool, known: Collection[str] = ()) -> None:
    """Refuse a run folder whose configuration would import code that is not trusted.

    Args:
        config: The experiment as the folder's config.yaml describes it.
        run: The folder.
        trust: Whether the user trusts all code that the folder names.
        known: Code that the user named on the command line. Where the run has a copy of its file,
            the file itself must be there: the copy may be another person's.

    Raises:
        RunError: Naming the file or module, and the option that trusts it.
    """
    if trust:
        return
    kept = read_sources(run)
    for name in sorted(plugged_code(config)):
        file, copy = named_file(name), kept[name].copy if name in kept else None
        if name in known and (copy is None or (file is not None and file.is_file())):
            continue
        what = f"import {name.rpartition('.')[0]}"
        if file is not None:
            what = f"execute the file {file if copy is None else run / 'code' / copy}"
        raise RunError(
            f"{printable(run)}: its {printable(name)} would {printable(what)}, which is not part "
            "of ibc_pyg or PyG; if you trust that code, add --trust-code"
        )


def with_kept_code(config: Config, run: Path) -> Config:
    """Return the experiment of a run with its plugged files replaced by the run's copies.

    Raises:
        RunError: If a copy is missing or was changed.
    """
    kept = kept_references(run)
    named = plugged_code(config)
    return _replaced(config, {name: copy for name, copy in kept.items() if name in named})


def _replaced(value: Value, names: Mapping[str, str]) -> Value:
    """Return plain data, or a dataclass of it, with each text in `names` replaced."""
    changed: Any = value
    if isinstance(value, str):
        changed = names.get(value, value)
    elif isinstance(value, dict):
        changed = {key: _replaced(each, names) for key, each in value.items()}
    elif isinstance(value, list):
        changed = [_replaced(each, names) for each in value]
    elif names and dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {each.name: getattr(value, each.name) for each in dataclasses.fields(value)}
        changed = dataclasses.replace(
            value, **{name: _replaced(each, names) for name, each in fields.items()}
        )
    return changed  # type: ignore[no-any-return]
