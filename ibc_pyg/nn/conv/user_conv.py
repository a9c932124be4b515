"""User-defined graph layers: a dotted path, or a class in a Python file."""

from __future__ import annotations

import hashlib
import importlib
import sys
from pathlib import Path
from types import ModuleType

from torch import nn

from ibc_pyg.config import ModelConfig
from ibc_pyg.errors import ConfigError
from ibc_pyg.nn.conv.specs import SPECS

_OURS = ("torch_geometric.nn.", "ibc_pyg.nn.")
_INNER = {spec.inner for spec in SPECS.values()} - {None}


def user_code(config: ModelConfig) -> frozenset[str]:
    """Return the graph layers of a model whose code is neither of PyG nor of this package.

    Args:
        config: Its `conv`, and the layer within that layer in `conv_args`, may be such names.
    """
    names = [config.conv, *(value for key, value in config.conv_args.items() if key in _INNER)]
    return frozenset(
        name
        for name in names
        if isinstance(name, str) and (":" in name or ("." in name and not name.startswith(_OURS)))
    )


def load_class(name: str) -> type[nn.Module]:
    """Import the class `name`.

    Args:
        name: `package.module.Class`, or `path/to/file.py:Class`. The latter **executes the
            file**, as `python file.py` would: name only files you trust.

    Raises:
        ConfigError: If there is no such file, module or class, the import fails, or the class is
            not a `torch.nn.Module`.
    """
    path, colon, cls_name = name.rpartition(":")
    if colon and path.endswith(".py"):
        module = _run_file(Path(path).expanduser(), name)
    else:
        module_name, _, cls_name = name.rpartition(".")
        try:
            module = importlib.import_module(module_name)
        except Exception as error:  # the user's module may raise anything
            raise ConfigError(
                f"conv: {name!r}: importing {module_name!r} failed: {_words(error)}"
            ) from error
    cls = getattr(module, cls_name, None)
    if cls is None:
        raise ConfigError(f"conv: {name!r}: there is no {cls_name!r} in it")
    if not (isinstance(cls, type) and issubclass(cls, nn.Module)):
        raise ConfigError(f"conv: {name!r} must be a class derived from torch.nn.Module")
    return cls


def _run_file(path: Path, name: str) -> object:
    if not path.is_file():
        raise ConfigError(f"conv: {name!r}: there is no file {str(path)!r}")
    try:
        source = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"conv: {name!r}: {str(path)!r} cannot be read: {error}") from error
    # MessagePassing looks up the module of its class in sys.modules; each file has its own name,
    # and another one once it is edited.
    digest = hashlib.sha256(str(path.resolve()).encode() + b"\0" + source).hexdigest()[:12]
    module_name = f"ibc_pyg_user_{path.stem}_{digest}"
    if module_name in sys.modules:
        return sys.modules[module_name]
    module = ModuleType(module_name)
    module.__file__ = str(path)
    sys.modules[module_name] = module
    try:
        # A cache of byte code, as of an import, may be that of the file before an edit.
        exec(compile(source, str(path), "exec"), vars(module))
    except Exception as error:  # the user's file may raise anything
        del sys.modules[module_name]
        raise ConfigError(f"conv: {name!r}: running the file failed: {_words(error)}") from error
    return module


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
