"""Which layers can be computed by several processes, each for its own nodes."""

from __future__ import annotations

import copy
import inspect

import torch
from torch import Tensor, nn

from ibc_pyg.errors import ConfigError
from ibc_pyg.nn.conv.intra_batch_conv import IntraBatchConv
from ibc_pyg.nn.conv.no_messages import NoMessages
from ibc_pyg.nn.mpn import MPN, MPNStep
from ibc_pyg.nn.senders import Senders

_NODES = 6
_OURS = slice(2, 4)


def check_spanning(mpn: MPN) -> None:
    """Refuse a layer that needs more than all senders and the edges into its own nodes.

    Layers that look at the degree of a sender (GCNConv), pass messages more than one edge far
    (APPNP, ChebConv), or take statistics over all nodes (GENConv) do.

    Args:
        mpn: freshly made, before anything is spread over processes; left as it is.

    Raises:
        ConfigError: the layer cannot span processes; the line says which to use instead.

    """
    layers = [step.conv for step in mpn.steps if isinstance(step, MPNStep)]
    if layers and not spans_processes(layers[0], mpn.width):
        raise ConfigError(
            f"model.conv: {mpn.conv_name} cannot span several processes, because what a node "
            "receives depends on more than its own edges; use IntraBatchConv, GATConv, GATv2Conv, "
            "TransformerConv, SAGEConv, GraphConv or GINConv, or start one process"
        )


def spans_processes(conv: nn.Module, channels: int) -> bool:
    """Say whether a process can compute its own nodes without the edges between the others.

    A copy of the layer is tried, in training mode without dropout: two nodes of six with all
    senders must get what they get in the whole graph.

    Args:
        conv: the layer as `make_conv` gives it.
        channels: its width.

    """
    if isinstance(conv, NoMessages):
        return True
    if isinstance(conv, IntraBatchConv):
        return "senders" in inspect.signature(conv.forward).parameters
    trial = copy.deepcopy(conv).train()
    for module in trial.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        if isinstance(getattr(module, "dropout", None), float):
            module.dropout = 0.0  # type: ignore[assignment]
    draws = torch.Generator().manual_seed(0)
    nodes = torch.randn(_NODES, channels, generator=draws)  # [6, C]
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        try:
            whole: Tensor = copy.deepcopy(trial)(nodes)
            ours: Tensor = trial(nodes[_OURS], senders=Senders(nodes, _OURS.start))
        except (ValueError, RuntimeError, IndexError):
            return False
    return torch.allclose(ours, whole[_OURS], rtol=1e-3, atol=1e-5)
