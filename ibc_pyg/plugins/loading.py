"""Import of the object that a reference names."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from ibc_pyg.errors import ConfigError, printable, reason
from ibc_pyg.plugins.reference import Reference

MARK = "__ibc_pyg_plug__"
"""Global variable of a module that was imported for a reference: its place."""


def load_object(reference: Reference, text: str, field: str) -> Any:
    """Import what a reference names. This **executes** its file or module.

    A file is executed once for each content, so that an edited file is not taken for the old one.

    Args:
        reference: The reference.
        text: The reference as the user wrote it, for messages.
        field: Field of the configuration, for messages.

    Raises:
        ConfigError: If there is no such file, module or name, or the import fails.
    """
    start = f"{field}: {printable(text)}"
    if reference.file is not None:
        module = _run_file(reference.file, start)
    else:
        try:
            module = importlib.import_module(reference.place)
        except (Exception, SystemExit) as error:  # the user's module may raise anything
            raise ConfigError(
                f"{start}: importing {reference.place} failed: {_words(error)}"
            ) from error
    if not module.__name__.startswith(("ibc_pyg.", "torch")):
        vars(module).setdefault(MARK, reference.place)
    try:
        return getattr(module, reference.name)
    except AttributeError:
        raise ConfigError(
            f"{start}: there is no {reference.name!r} in {printable(reference.place)}"
        ) from None


def _run_file(path: Path, start: str) -> ModuleType:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise ConfigError(f"{start}: there is no file {printable(path)}") from None
    except OSError as error:
        raise ConfigError(f"{start}: {printable(path)} cannot be read: {reason(error)}") from error
    # MessagePassing looks up the module of its class in sys.modules.
    digest = hashlib.sha256(str(path.resolve()).encode() + b"\0" + content).hexdigest()[:12]
    module_name = f"ibc_pyg_user_{path.stem}_{digest}"
    if module_name in sys.modules:
        return sys.modules[module_name]
    spec = importlib.util.spec_from_file_location(module_name, path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"{start}: {printable(path)} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    try:
        # A cache of byte code, as of an import, may be that of the file before an edit.
        exec(compile(content, str(path), "exec"), vars(module))
    except (Exception, SystemExit) as error:  # the user's file may raise anything
        del sys.modules[module_name]
        raise ConfigError(f"{start}: executing the file failed: {_words(error)}") from error
    return module


def _words(error: BaseException) -> str:
    return f"{type(error).__name__}: {reason(error)}"
