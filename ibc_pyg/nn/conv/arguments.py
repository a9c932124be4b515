"""Constructor arguments of a graph layer: those it takes, those supplied, and a record."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from ibc_pyg.errors import constructor_parameters
from ibc_pyg.nn.conv.specs import SPECS, ConvOptions, ConvSpec


@dataclass(frozen=True)
class Construction:
    """Constructor arguments of a graph layer, and what follows it.

    Attributes:
        name: Name of the layer, as the experiment gives it.
        arguments: All constructor arguments by name, as text.
        appended: The linear layer that restores the width; empty without one.
    """

    name: str
    arguments: Mapping[str, str]
    appended: str = ""

    def __str__(self) -> str:
        given = ", ".join(f"{name}={value}" for name, value in self.arguments.items())
        return f"{self.name}({given}), {self.appended or 'no linear layer'} appended"


def is_pyg(cls: type) -> bool:
    """Return whether a class is one of `torch_geometric.nn`."""
    return cls.__module__.startswith("torch_geometric.nn.")


def spec_of(cls: type[nn.Module]) -> ConvSpec:
    """Return the specification of a layer of PyG, or that of the layer a user class derives from.

    What the user's `forward` does not take is left out.
    """
    for base in cls.__mro__:
        if is_pyg(base) and base.__name__ in SPECS:
            spec = SPECS[base.__name__]
            if base is cls:
                return spec
            taken = inspect.signature(cls.forward).parameters
            return replace(
                spec,
                initial_features=spec.initial_features and "x_0" in taken,
                no_negatives=spec.no_negatives and "neg_edge_index" in taken,
            )
    return ConvSpec()


def supplied_arguments(
    cls: type[nn.Module], spec: ConvSpec, options: ConvOptions, given: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the constructor arguments of a layer.

    Arguments that a class passes on by **kwargs are those of its base classes. Where heads are
    concatenated, `out_channels` is the width of one head, as in PyG.

    Args:
        cls: The class.
        spec: Its specification.
        options: Width, heads and dropout.
        given: Arguments of the user, which override the supplied ones.
    """
    parameters, takes_any = constructor_parameters(cls)
    takes_any = takes_any and cls.__init__ is not nn.Module.__init__  # which takes none in fact
    arguments = {key: value for key, value in spec.arguments(options).items() if key in parameters}
    names = ("in_channels", "channels")
    widths = {key: options.channels for key in names if key in parameters}
    if takes_any and not widths:
        widths = {"in_channels": options.channels}
    arguments |= widths
    if "heads" in parameters:
        arguments["heads"] = options.heads
    if "dropout" in parameters and (spec.attention_dropout or _names_dropout(cls)):
        arguments["dropout"] = options.dropout
    arguments.update(given)
    takes_width = "out_channels" in parameters or (takes_any and "channels" not in parameters)
    if takes_width and "out_channels" not in arguments:
        concat = parameters.get("concat")
        heads = 1
        if concat is not None and arguments.get("concat", concat.default):
            heads = int(arguments.get("heads", 1))
        arguments["out_channels"] = _share(options.channels, heads)
    if isinstance(arguments.get("deg"), list):  # of PNAConv, from YAML
        arguments["deg"] = torch.tensor(arguments["deg"], dtype=torch.long)
    return arguments


def corrected_share(conv: nn.Module, arguments: Mapping[str, Any], channels: int) -> int | None:
    """Return the width of a head where a layer of PyG sets heads or `concat` itself.

    Args:
        conv: The layer.
        arguments: Arguments it was made with.
        channels: Width of a node.

    Returns:
        The width that `out_channels` should have been; None if it is right.
    """
    heads, concat = getattr(conv, "heads", None), getattr(conv, "concat", None)
    if not any(map(is_pyg, type(conv).__mro__)) or not isinstance(heads, int):
        return None
    if not isinstance(concat, bool):
        return None
    share = _share(channels, heads if concat else 1)
    return None if share == arguments.get("out_channels") else share


def as_text(arguments: Mapping[str, Any]) -> dict[str, str]:
    """Return arguments as text; tensors and modules by the name of their class."""
    plain = (bool, int, float, str, list, tuple, dict, type(None))
    return {
        name: repr(value) if isinstance(value, plain) else type(value).__name__
        for name, value in arguments.items()
    }


def _share(channels: int, heads: int) -> int:
    return max(1, channels // max(1, heads))


def _names_dropout(cls: type) -> bool:
    """Return whether a class that is not PyG's has an argument `dropout` of its own."""
    own = [vars(base).get("__init__") for base in cls.__mro__ if not is_pyg(base)]
    return any("dropout" in inspect.signature(each).parameters for each in own if each is not None)
