"""Plugged code of an experiment: its import, whether it is trusted, and a run's copies of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, TypeVar

from ibc_pyg.config import Config
from ibc_pyg.config.plugged import plugged, plugged_code
from ibc_pyg.errors import RunError, printable
from ibc_pyg.plugins import load_plug
from ibc_pyg.runs.source_record import CODE, kept_references, read_sources

Value = TypeVar("Value")


def import_plugs(config: Config) -> None:
    """Import the code of the user, so that a mistake in a name is found before anything is built.

    Raises:
        ConfigError: If a reference cannot be imported, or a tracker has no `log`.
    """
    for each in plugged(config):
        if each.kind.name == "graph layer":  # with the model, since it may be a dotted path
            continue
        plug = load_plug(each.kind.name, each.name)
        is_tracker = each.kind.name == "tracker" and isinstance(plug.target, type)
        if is_tracker and not callable(getattr(plug.target, "log", None)):
            plug.refuse(plug.kind.expected, f"{plug.name} without log")


def check_code(
    config: Config, run: Path, *, trust: bool, known: Collection[str] = (), opening: bool = False
) -> None:
    """Refuse a run folder whose configuration would import code that is not trusted.

    Args:
        config: The experiment as the folder's config.yaml describes it.
        run: The folder.
        trust: Whether the user trusts all code that the folder names.
        known: Code that the user named on the command line. Where the run has a copy of its file,
            the file itself must be there: the copy may be another person's.
        opening: Whether the run is only opened, which imports less than training it does.

    Raises:
        RunError: Naming the field, the file or module, and the option that trusts it.
    """
    names = frozenset() if trust else plugged_code(config, opening=opening)
    if not names:
        return
    kept = read_sources(run)
    for each in sorted(plugged(config), key=lambda each: each.field):
        copy = kept[each.name].copy if each.name in kept else None
        file, there = each.file, copy is None or (each.file is not None and each.file.is_file())
        if each.name not in names or (each.name in known and there):
            continue
        what = f"import {each.module}"
        if file is not None:
            what = f"execute the file {file if copy is None else run / CODE / copy}"
        raise RunError(
            f"{printable(run)}: {each.field} = {printable(each.name)} would {printable(what)}, "
            "which is not part of ibc_pyg or PyG; if you trust that code, add --trust-code"
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
