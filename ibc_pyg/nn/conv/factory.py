"""Graph layers by name: `IntraBatchConv`, the convolutions of PyG, user classes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch_geometric.nn
from torch import nn
from torch_geometric.nn import conv as pyg

from ibc_pyg.errors import ConfigError, accepted_arguments, check_arguments, did_you_mean
from ibc_pyg.nn.conv.adapter import adapt, output_width
from ibc_pyg.nn.conv.arguments import (
    Construction,
    as_text,
    corrected_share,
    is_pyg,
    spec_of,
    supplied_arguments,
)
from ibc_pyg.nn.conv.inputs import ConvInputs
from ibc_pyg.nn.conv.intra_batch_conv import IntraBatchConv
from ibc_pyg.nn.conv.no_messages import NoMessages
from ibc_pyg.nn.conv.specs import SPECS, UNSUPPORTED, ConvOptions, ConvSpec
from ibc_pyg.nn.conv.user_conv import layer_plug

_TWICE = re.compile(r"multiple values for (?:keyword )?argument '(\w+)'")


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
        return _intra_batch_conv(name, cls, shared, args)
    arguments = supplied_arguments(cls, spec, shared, args)
    if spec.inner is not None and isinstance(arguments.get(spec.inner), str):
        arguments[spec.inner] = _inner(spec.inner, arguments[spec.inner], shared)
    conv = _construct(name, cls, arguments, args, channels)
    layer = adapt(name, conv, ConvInputs.of(name, conv, spec, arguments), shared)
    linear = layer.lin_out
    appended = ""
    if isinstance(linear, nn.Linear):
        appended = f"a linear layer {linear.in_features} -> {linear.out_features}"
    layer.construction = Construction(name, as_text(arguments), appended)
    return layer


def _intra_batch_conv(
    name: str, cls: type[IntraBatchConv], options: ConvOptions, args: Mapping[str, Any]
) -> IntraBatchConv:
    supplied = {
        "in_channels": options.channels,
        "out_channels": options.channels,
        "heads": options.heads,
        "dropout": options.dropout,
        "null_node": options.null_node,
        "self_loops": options.self_loops,
    }
    accepted = accepted_arguments(cls)
    arguments = {
        key: value for key, value in supplied.items() if accepted is None or key in accepted
    } | dict(args)
    layer = _call(name, cls, arguments, args)
    assert isinstance(layer, IntraBatchConv)
    layer.construction = Construction(name, as_text(arguments))
    return layer


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
        if by_path and not is_pyg(cls):
            return cls, spec_of(cls)
        name = cls.__name__  # some classes have a second name
        if name in SPECS:
            return cls, SPECS[name]
        if name in UNSUPPORTED:
            raise ConfigError(f"conv: {name} cannot work on a batch graph: {UNSUPPORTED[name]}")
    raise ConfigError(
        f"conv: torch_geometric.nn.{name} is not a node-level convolution; "
        "docs/layers.md lists those that work"
    )


def _check_args(name: str, cls: type[nn.Module], args: Mapping[str, Any]) -> None:
    for key in ("in_channels", "channels", "node_dim"):
        if key in args:
            raise ConfigError(f"conv_args: {key} is set by the model and cannot be given")
    if args.get("cached"):
        raise ConfigError(
            "conv_args: cached=True keeps the first graph, but every batch is a new graph"
        )
    check_arguments(cls, args, what=f"conv_args: {name}", reserved=("in_channels", "node_dim"))


def _inner(argument: str, name: str, options: ConvOptions) -> nn.Module:
    """Make the convolution that a layer holds as `argument`."""
    cls, spec = _find(name)
    if issubclass(cls, IntraBatchConv) or spec.initial_features or spec.inner is not None:
        raise ConfigError(f"conv_args: {argument}={name!r} cannot be a layer inside a layer")
    channels = options.channels
    arguments = supplied_arguments(cls, spec, replace(options, dropout=0.0), {})
    conv = _construct(name, cls, arguments, {}, channels)
    if output_width(name, conv, channels, ConvInputs.of(name, conv, spec, {})) != channels:
        raise ConfigError(
            f"conv_args: {argument}={name!r} changes the width with heads={options.heads}; "
            "choose heads that divide it"
        )
    return conv


def _construct(
    name: str, cls: type[nn.Module], arguments: dict[str, Any], given: Mapping[str, Any], width: int
) -> nn.Module:
    """Call the constructor; correct `arguments` in place where the class sets some of them itself.

    Args:
        name: Name of the layer, for messages.
        cls: Its class.
        arguments: Constructor arguments.
        given: Those among them that the user gave, which are not corrected.
        width: Width of a node.
    """
    conv = _call(name, cls, arguments, given)
    share = corrected_share(conv, arguments, width)
    if share is None or "out_channels" in given or "out_channels" not in arguments:
        return conv
    arguments["out_channels"] = share
    return _call(name, cls, arguments, given)


def _call(
    name: str, cls: type[nn.Module], arguments: dict[str, Any], given: Mapping[str, Any]
) -> nn.Module:
    try:
        return cls(**arguments)
    except Exception as error:  # a layer of any origin may raise anything
        # A class may pass an argument of its own choice to its base.
        twice = _TWICE.search(str(error)) if isinstance(error, TypeError) else None
        if twice is not None and twice[1] in arguments and twice[1] not in given:
            del arguments[twice[1]]
            return _call(name, cls, arguments, given)
        shown = ", ".join(f"{key}={value}" for key, value in as_text(arguments).items())
        raise ConfigError(
            f"conv: {name} cannot be made with {shown or 'no arguments'}: "
            f"{type(error).__name__}: {error}"
        ) from error
