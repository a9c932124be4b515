"""From the name of a graph layer to its class."""

from __future__ import annotations

import difflib

import torch_geometric.nn
from torch import nn
from torch_geometric.nn import conv

from ibc_pyg.errors import ConfigError
from ibc_pyg.nn.conv.intra_batch_conv import IntraBatchConv
from ibc_pyg.nn.conv.specs import SPECS, UNSUPPORTED, ConvSpec
from ibc_pyg.nn.conv.user_conv import load_class


def is_pyg(cls: type[nn.Module]) -> bool:
    """Whether a class comes with PyG."""
    return cls.__module__.startswith("torch_geometric.nn.")


def find_conv(name: str) -> tuple[type[nn.Module], ConvSpec]:
    """Find the class of a layer and how it is made.

    Args:
        name: As in `make_conv`.

    Returns:
        The class and its spec, an empty one for `IntraBatchConv` and classes of the user's own.

    Raises:
        ConfigError: Unknown, no convolution, or one that cannot work on a batch graph.
    """
    if name == IntraBatchConv.__name__:
        return IntraBatchConv, ConvSpec()
    own = "." in name or ":" in name
    cls = load_class(name) if own else getattr(conv, name, getattr(torch_geometric.nn, name, None))
    is_class = isinstance(cls, type) and issubclass(cls, nn.Module)
    if cls is not None and is_class:
        if own and not is_pyg(cls):
            return cls, ConvSpec()
        name = cls.__name__  # some classes have a second name
        if name in SPECS:
            return cls, SPECS[name]
        if name in UNSUPPORTED:
            raise ConfigError(f"conv: {name} cannot work on a batch graph: {UNSUPPORTED[name]}")
    if cls is not None:
        raise ConfigError(
            f"conv: torch_geometric.nn.{name} is no node-level convolution; "
            "docs/layers.md lists those that work"
        )
    raise ConfigError(f"conv: unknown layer {name!r}{_closest(name)}")


def _closest(name: str) -> str:
    known = {key.lower(): key for key in (IntraBatchConv.__name__, *SPECS)}
    matches = difflib.get_close_matches(name.lower(), known, n=3, cutoff=0.5)
    if matches:
        return f"; did you mean {' or '.join(known[match] for match in matches)}?"
    return (
        "; give IntraBatchConv, a convolution of torch_geometric.nn, package.module.Class "
        "or file.py:Class"
    )
