"""Graph layers by name: `IntraBatchConv`, the convolutions of PyG, user classes."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
import torch_geometric.nn
from torch import nn
from torch_geometric.nn import conv as pyg

from ibc_pyg.errors import ConfigError, check_arguments, did_you_mean
from ibc_pyg.nn.conv.adapter import adapt, output_width
from ibc_pyg.nn.conv.inputs import ConvInputs
from ibc_pyg.nn.conv.intra_batch_conv import IntraBatchConv
from ibc_pyg.nn.conv.no_messages import NoMessages
from ibc_pyg.nn.conv.specs import SPECS, UNSUPPORTED, ConvOptions, ConvSpec
from ibc_pyg.nn.conv.user_conv import layer_plug


def make_conv(
    name: str, channels: int, *, conv_args: Mapping[str, Any] | None = None, **options: Any
) -> nn.Module:
    """Make a graph layer, `[N, channels]` to `[N, channels]`, by name.

    The layer is called as `conv(x, edge_index=None, edge_weight=None)`. Without edges the graph is
    complete, and `x` `[B, N, C]` stands for B separate graphs. If `has_attention`,
    `return_attention_weights=True` gives `(out, alpha)`. Required constructor arguments are
    supplied; `docs/layers.md` lists the layers.

    Args:
        name: `IntraBatchConv`; `none`, which passes no messages; a node-level convolution of
            `torch_geometric.nn`; or a user class, as `FILE.py:NAME` (which
            executes the file), `package.module:NAME` or `package.module.NAME`. It takes
            `in_channels` and `out_channels` (or `channels`), optionally `heads` and `dropout`,
            and is called as `conv(x, edge_index)`, with `edge_weight` if it takes that.
        channels: Width of a node embedding, in and out.
        conv_args: Further arguments of the constructor; they override the supplied ones. A
            layer inside the layer (`conv` of GPSConv and DirGNNConv, `phi` of AntiSymmetricConv)
            may be given by name.
        **options: `heads`, `dropout`, `null_node`, `self_loops`, `fuse`: see `ConvOptions`.

    Returns:
        An `IntraBatchConv`, a `NoMessages`, or a `ConvAdapter` around the layer.

    Raises:
        ConfigError: If the name is unknown (the message has the closest ones), the layer cannot
            work on a batch graph (with the reason), or constructor arguments do not fit.
        ValueError: If an option is out of range.
    """
    shared = ConvOptions(channels, **options)
    args = dict(conv_args or {})
    if name == "none":
        if args:
            raise ConfigError(f"conv_args: the layer none takes no {next(iter(args))}")
        return NoMessages()
    cls, spec = _find(name)
    _check_args(name, cls, args)
    if issubclass(cls, IntraBatchConv):
        given = {
            "out_channels": channels,
            "heads": shared.heads,
            "dropout": shared.dropout,
            "null_node": shared.null_node,
            "self_loops": shared.self_loops,
        }
        return _construct(name, cls, {**given, **args}, channels)
    arguments = _arguments(cls, spec, shared, args)
    conv = _construct(name, cls, arguments, channels)
    return adapt(name, conv, ConvInputs.of(name, conv, spec, arguments), shared)


def _find(name: str) -> tuple[type[nn.Module], ConvSpec]:
    """Return the class of a layer and its specification, empty if it is not a layer of PyG."""
    if name == IntraBatchConv.__name__:
        return IntraBatchConv, ConvSpec()
    cls = getattr(pyg, name, getattr(torch_geometric.nn, name, None))
    by_path = cls is None
    if cls is None and (plug := layer_plug(name)) is not None:
        cls = plug.target
    if cls is None:
        hint = did_you_mean(
            name,
            (IntraBatchConv.__name__, *SPECS),
            otherwise="give IntraBatchConv, a convolution of torch_geometric.nn, "
            "FILE.py:NAME or package.module:NAME",
        )
        raise ConfigError(f"conv: unknown layer {name!r}; {hint}")
    if isinstance(cls, type) and issubclass(cls, nn.Module):
        if by_path and not _is_pyg(cls):
            return cls, ConvSpec()
        name = cls.__name__  # some classes have a second name
        if name in SPECS:
            return cls, SPECS[name]
        if name in UNSUPPORTED:
            raise ConfigError(f"conv: {name} cannot work on a batch graph: {UNSUPPORTED[name]}")
    raise ConfigError(
        f"conv: torch_geometric.nn.{name} is not a node-level convolution; "
        "docs/layers.md lists those that work"
    )


def _is_pyg(cls: type[nn.Module]) -> bool:
    return cls.__module__.startswith("torch_geometric.nn.")


def _check_args(name: str, cls: type[nn.Module], args: Mapping[str, Any]) -> None:
    for key in ("in_channels", "channels", "node_dim"):
        if key in args:
            raise ConfigError(f"conv_args: {key} is set by the model and cannot be given")
    if args.get("cached"):
        raise ConfigError(
            "conv_args: cached=True keeps the first graph, but every batch is a new graph"
        )
    # The constructor of a user class may take **kwargs of any name.
    if _is_pyg(cls) or cls is IntraBatchConv:
        check_arguments(cls, args, what=f"conv_args: {name}", reserved=("in_channels", "node_dim"))


def _arguments(
    cls: type[nn.Module], spec: ConvSpec, options: ConvOptions, args: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the constructor arguments except the input width."""
    parameters = inspect.signature(cls.__init__).parameters
    arguments = spec.arguments(options)
    if "heads" in parameters:
        arguments["heads"] = options.heads
    if "dropout" in parameters and (spec.attention_dropout or not _is_pyg(cls)):
        arguments["dropout"] = options.dropout
    arguments.update(args)
    if "out_channels" in parameters and "out_channels" not in arguments:
        concat = parameters.get("concat")
        share = 1
        if concat is not None and arguments.get("concat", concat.default):
            share = int(arguments.get("heads", 1))
        arguments["out_channels"] = max(1, options.channels // max(1, share))
    if isinstance(arguments.get("deg"), list):  # of PNAConv, from YAML
        arguments["deg"] = torch.tensor(arguments["deg"], dtype=torch.long)
    if spec.inner is not None and isinstance(arguments.get(spec.inner), str):
        arguments[spec.inner] = _inner(spec.inner, arguments[spec.inner], options)
    return arguments


def _inner(argument: str, name: str, options: ConvOptions) -> nn.Module:
    """Make the convolution that a layer holds as `argument`."""
    cls, spec = _find(name)
    if issubclass(cls, IntraBatchConv) or spec.initial_features or spec.inner is not None:
        raise ConfigError(f"conv_args: {argument}={name!r} cannot be a layer inside a layer")
    channels = options.channels
    conv = _construct(name, cls, _arguments(cls, spec, replace(options, dropout=0.0), {}), channels)
    if output_width(name, conv, channels, ConvInputs.of(name, conv, spec, {})) != channels:
        raise ConfigError(
            f"conv_args: {argument}={name!r} changes the width with heads={options.heads}; "
            "choose heads that divide it"
        )
    return conv


def _construct(
    name: str, cls: type[nn.Module], arguments: Mapping[str, Any], channels: int
) -> nn.Module:
    """Call the constructor with `arguments` and the input width under the name it has there."""
    parameters = inspect.signature(cls.__init__).parameters
    widths = {key: channels for key in ("in_channels", "channels") if key in parameters}
    if issubclass(cls, IntraBatchConv):
        widths = {"in_channels": channels}  # a subclass may take **kwargs
    try:
        return cls(**{**widths, **arguments})
    except Exception as error:  # a layer of any origin may raise anything
        plain = {
            key: value
            for key, value in arguments.items()
            if isinstance(value, (int, float, str, list, tuple))
        }
        shown = ", ".join(f"{key}={value!r}" for key, value in plain.items())
        raise ConfigError(
            f"conv: {name} cannot be made with channels={channels} and "
            f"{shown or 'no other arguments'}: {type(error).__name__}: {error}"
        ) from error
