"""Graph layers that several processes can compute, each for its own nodes."""

from __future__ import annotations

import copy
import inspect

import torch
from torch import Tensor, nn

from ibc_pyg.errors import ConfigError
from ibc_pyg.nn.conv.intra_batch_conv import IntraBatchConv
from ibc_pyg.nn.conv.no_messages import NoMessages
from ibc_pyg.nn.conv.step import MPNStep
from ibc_pyg.nn.mpn import MPN
from ibc_pyg.nn.senders import Senders

_NODES = 6
_OWN = slice(2, 4)


def check_spanning(mpn: MPN) -> None:
    """Check that the layer needs only all senders and the edges into its own nodes.

    Layers that use the degree of a sender (GCNConv), pass messages over several edges (APPNP,
    ChebConv), or compute statistics over all nodes (GENConv) need more.

    Args:
        mpn: The network, before it is distributed; not changed.

    Raises:
        ConfigError: If the layer cannot span processes; the message names layers that can.
    """
    layers = [step.conv for step in mpn.steps if isinstance(step, MPNStep)]
    if layers and not spans_processes(layers[0], mpn.config.width):
        raise ConfigError(
            f"model.conv: {mpn.config.conv} cannot span several processes, because what a node "
            "receives depends on more than its own edges; use IntraBatchConv, GATConv, GATv2Conv, "
            "TransformerConv, SAGEConv, GraphConv or GINConv, or start one process"
        )


def spans_processes(conv: nn.Module, channels: int) -> bool:
    """Test whether a process can compute its own nodes without the edges between other nodes.

    A copy of the layer is called in training mode without dropout: for two nodes of six, all
    senders must give the same result as the whole graph.

    Args:
        conv: A layer from `make_conv`.
        channels: Its width.
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
            own: Tensor = trial(nodes[_OWN], senders=Senders(nodes, _OWN.start))
        except (ValueError, RuntimeError, IndexError):
            return False
    return torch.allclose(own, whole[_OWN], rtol=1e-3, atol=1e-5)
