"""Graph layers by name: `IntraBatchConv`, PyG's convolutions, the user's own."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from torch import nn

from ibc_pyg.errors import ConfigError
from ibc_pyg.nn.conv.adapter import ConvAdapter, ConvInputs
from ibc_pyg.nn.conv.build import (
    check_args,
    construct,
    constructor_arguments,
    edge_input,
    probe_width,
)
from ibc_pyg.nn.conv.checks import check_rate
from ibc_pyg.nn.conv.edgewise import EdgewiseIntraBatchConv
from ibc_pyg.nn.conv.fused import fuse as make_twin
from ibc_pyg.nn.conv.fused import why_not_fusable
from ibc_pyg.nn.conv.intra_batch_conv import IntraBatchConv
from ibc_pyg.nn.conv.lookup import find_conv
from ibc_pyg.nn.conv.no_messages import NoMessages
from ibc_pyg.nn.conv.specs import ConvSize

_log = logging.getLogger(__name__)


def make_conv(
    name: str,
    channels: int,
    *,
    heads: int = 1,
    dropout: float = 0.0,
    conv_args: Mapping[str, Any] | None = None,
    null_node: bool = True,
    self_loops: bool = True,
    fuse: bool = True,
) -> nn.Module:
    """Make a graph layer, [N, channels] to [N, channels], from its name.

    The result is called as `conv(x, edge_index=None, edge_weight=None)`: no edges mean the
    complete graph, and `x` [B, N, C] B separate ones. `has_attention` says whether
    `return_attention_weights=True` gives `(out, alpha)`. What the layer's constructor needs is
    supplied; `docs/layers.md` lists the layers.

    Args:
        name: `IntraBatchConv`; `none`, which passes no messages; a node-level convolution of
            `torch_geometric.nn`; or a class of your own, as `package.module.Class` or
            `path/to/file.py:Class`. The latter executes the file. A class of your own takes
            `in_channels` and `out_channels` (or `channels`), if it likes `heads` and `dropout`,
            and is called as `conv(x, edge_index)`, with `edge_weight` if it takes that.
        channels: width of a node embedding, in and out.
        heads: number of attention heads, for layers that have them. Where heads are concatenated
            each is `channels // heads` wide, and a linear layer makes up what is missing.
        dropout: rate at which attention weights are dropped, for layers that have attention.
        conv_args: further arguments of the constructor; they override what is supplied. A
            layer inside the layer (`conv` of GPSConv and DirGNNConv, `phi` of AntiSymmetricConv)
            may be given by name.
        null_node: softmax-plus-one in `IntraBatchConv`; other layers have none.
        self_loops: whether the complete graph has self-loops.
        fuse: use the layer's dense twin on complete graphs if there is one, and the dense path
            of `IntraBatchConv`; otherwise edges are made.

    Returns:
        An `IntraBatchConv`, a `NoMessages`, or a `ConvAdapter` around the layer.

    Raises:
        ConfigError: unknown name (with the closest ones), a layer that cannot work on a batch
            graph (with the reason), or constructor arguments that do not fit.
        ValueError: `channels`, `heads` or `dropout` out of range.

    """
    for argument, value in (("channels", channels), ("heads", heads)):
        if value < 1:
            raise ValueError(f"{argument} must be at least 1, got {value}")
    check_rate("dropout", dropout)
    if name == "none":
        if conv_args:
            raise ConfigError(f"conv_args: the layer none takes no {next(iter(conv_args))}")
        return NoMessages()
    args = dict(conv_args or {})
    size = ConvSize(channels, heads)
    cls, spec = find_conv(name)
    check_args(name, cls, args)
    if issubclass(cls, IntraBatchConv):
        if cls is IntraBatchConv and not fuse:
            cls = EdgewiseIntraBatchConv
        given = {"heads": heads, "null_node": null_node, "self_loops": self_loops}
        return construct(name, cls, {**given, "dropout": dropout, **args}, channels)
    arguments = constructor_arguments(cls, spec, size, dropout, args)
    conv = construct(name, cls, arguments, channels)
    inputs = ConvInputs.of(conv, spec, edge_input(name, conv, arguments))
    width = probe_width(name, conv, channels, inputs)
    if fuse:
        reason = why_not_fusable(conv)
        if reason is None:
            conv = make_twin(conv, self_loops=self_loops)
        else:
            _log.debug("conv %s runs on edges: %s", name, reason)
    return ConvAdapter(conv, channels, width, inputs, self_loops=self_loops)
