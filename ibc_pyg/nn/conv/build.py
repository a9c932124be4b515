"""Graph layers are made here: arguments checked and supplied, the result tried once."""

from __future__ import annotations

import copy
import difflib
import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ibc_pyg.errors import ConfigError
from ibc_pyg.nn.conv.adapter import ConvAdapter, ConvInputs, EdgeInput
from ibc_pyg.nn.conv.complete_edges import CompleteEdges
from ibc_pyg.nn.conv.intra_batch_conv import IntraBatchConv
from ibc_pyg.nn.conv.lookup import find_conv, is_pyg
from ibc_pyg.nn.conv.specs import ConvSize, ConvSpec

# Names under which PyG's layers ask for the number of edge features.
_EDGE_WIDTHS = ("edge_dim", "in_edge_channels", "dim")
_PROBE_NODES = 4


def check_args(name: str, cls: type[nn.Module], args: Mapping[str, Any]) -> None:
    """Refuse constructor arguments that the layer has not, or that cannot be changed."""
    for key in ("in_channels", "channels", "node_dim"):
        if key in args:
            raise ConfigError(f"conv_args: {key} is set by the model and cannot be given")
    if args.get("cached"):
        raise ConfigError(
            "conv_args: cached=True keeps the first graph for good; every batch is a new graph"
        )
    parameters = inspect.signature(cls.__init__).parameters
    named = {
        key
        for key, parameter in parameters.items()
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
    } - {"self"}
    if len(named) + 1 < len(parameters):  # a **kwargs among them
        if not is_pyg(cls):
            return
        named |= {"aggr", "aggr_kwargs", "flow", "decomposed_layers"}
    for key in args:
        if key not in named:
            close = difflib.get_close_matches(key, named, n=1)
            hint = f"did you mean {close[0]}?" if close else "it has " + ", ".join(sorted(named))
            raise ConfigError(f"conv_args: {name} has no argument {key!r}; {hint}")


def constructor_arguments(
    cls: type[nn.Module],
    spec: ConvSpec,
    size: ConvSize,
    dropout: float,
    args: Mapping[str, Any],
) -> dict[str, Any]:
    """Put together what the constructor is called with, but for the width that goes in."""
    parameters = inspect.signature(cls.__init__).parameters
    arguments = spec.arguments(size)
    if "heads" in parameters:
        arguments["heads"] = size.heads
    own = not is_pyg(cls)
    if "dropout" in parameters and (spec.attention_dropout or own):
        arguments["dropout"] = dropout
    arguments.update(args)
    if "out_channels" in parameters and "out_channels" not in arguments:
        concat = parameters.get("concat")
        share = 1
        if concat is not None and arguments.get("concat", concat.default):
            share = int(arguments.get("heads", 1))
        arguments["out_channels"] = max(1, size.channels // max(1, share))
    if isinstance(arguments.get("deg"), list):  # PNAConv's, from YAML
        arguments["deg"] = torch.tensor(arguments["deg"], dtype=torch.long)
    if spec.inner is not None and isinstance(arguments.get(spec.inner), str):
        arguments[spec.inner] = _inner(spec.inner, arguments[spec.inner], size)
    return arguments


def _inner(argument: str, name: str, size: ConvSize) -> nn.Module:
    """Make the convolution that a layer holds as `argument`."""
    cls, spec = find_conv(name)
    if issubclass(cls, IntraBatchConv) or spec.initial_features or spec.inner is not None:
        raise ConfigError(f"conv_args: {argument}={name!r} cannot be a layer inside a layer")
    conv = construct(name, cls, constructor_arguments(cls, spec, size, 0.0, {}), size.channels)
    inputs = ConvInputs.of(conv, spec, edge_input(name, conv, {}))
    if probe_width(name, conv, size.channels, inputs) != size.channels:
        raise ConfigError(
            f"conv_args: {argument}={name!r} changes the width with heads={size.heads}; "
            "choose heads that divide it"
        )
    return conv


def construct(
    name: str, cls: type[nn.Module], arguments: Mapping[str, Any], channels: int
) -> nn.Module:
    """Call the constructor with the width that the class asks for and `arguments`.

    Raises:
        ConfigError: the constructor refuses them; its own words are quoted.

    """
    parameters = inspect.signature(cls.__init__).parameters
    widths = {"in_channels": channels, "channels": channels}
    widths = {key: value for key, value in widths.items() if key in parameters}
    if issubclass(cls, IntraBatchConv):
        widths = {"in_channels": channels, "out_channels": channels}
    try:
        return cls(**{**widths, **arguments})
    except Exception as error:  # whatever a layer of any origin raises for its arguments
        raise ConfigError(
            f"conv: {name} cannot be made with channels={channels} and "
            f"{_shown(arguments)}: {type(error).__name__}: {error}"
        ) from error


def _shown(arguments: Mapping[str, Any]) -> str:
    plain = {k: v for k, v in arguments.items() if isinstance(v, (int, float, str, list, tuple))}
    return ", ".join(f"{key}={value!r}" for key, value in plain.items()) or "no other arguments"


def edge_input(name: str, conv: nn.Module, arguments: Mapping[str, Any]) -> EdgeInput:
    """Find out how the layer takes edge weights."""
    parameters = inspect.signature(conv.forward).parameters
    if "edge_weight" in parameters:
        return EdgeInput.WEIGHT
    if "edge_attr" not in parameters:
        return EdgeInput.NONE
    widths = [arguments[key] for key in _EDGE_WIDTHS if arguments.get(key)]
    if not widths:
        return EdgeInput.NONE
    if widths != [1]:
        raise ConfigError(
            f"conv_args: {name} is asked for {widths[0]} features per edge; a batch graph has one, "
            "the edge weight: give 1"
        )
    return EdgeInput.ATTRIBUTE


def probe_width(name: str, conv: nn.Module, channels: int, inputs: ConvInputs) -> int:
    """Call a copy of the layer once on a small graph and return the width it gives."""
    reference = next(conv.parameters(), torch.empty(0))
    x = torch.linspace(-1.0, 1.0, _PROBE_NODES * channels, device=reference.device)
    x = x.to(reference.dtype).view(_PROBE_NODES, channels)
    edges = CompleteEdges(self_loops=True)
    try:
        trial = ConvAdapter(copy.deepcopy(conv), channels, channels, inputs).eval()
        with torch.no_grad():
            out = trial(x, edges(1, _PROBE_NODES, x.device))
    except Exception as error:  # whatever a layer of any origin raises when it is called
        raise ConfigError(
            f"conv: {name} cannot be called as conv(x, edge_index) on a batch graph: "
            f"{type(error).__name__}: {error}"
        ) from error
    if not isinstance(out, Tensor) or out.dim() != 2 or out.size(0) != _PROBE_NODES:
        found = list(out.shape) if isinstance(out, Tensor) else type(out).__name__
        raise ConfigError(
            f"conv: {name} must give one embedding per node, [N, width]; for N={_PROBE_NODES} "
            f"it gave {found}"
        )
    return out.size(1)
