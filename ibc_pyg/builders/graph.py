"""Graph functions from a configuration."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor
from torch_geometric.data import Data

from ibc_pyg.config import ModelConfig
from ibc_pyg.graph import knn, threshold
from ibc_pyg.nn.model import GraphFunction, complete_batch
from ibc_pyg.plugins import load_plug
from ibc_pyg.plugins.plug import described, named_arguments

GRAPHS: Mapping[str, Callable[..., Data]] = {"threshold": threshold, "knn": knn}


class PluggedGraph:
    """Graph function of the user.

    Args:
        config: Name and arguments of the function.

    Raises:
        ConfigError: If it cannot be imported or made.
    """

    def __init__(self, config: ModelConfig) -> None:
        self._plug = load_plug("graph", config.graph)
        self._function = self._plug.function(config.graph_args)
        self._spans = {"senders", "first"} <= named_arguments(self._function)

    def __call__(self, nodes: Tensor, *, senders: Tensor | None = None, first: int = 0) -> Data:
        """Return the graph of nodes `[N, D]`.

        Raises:
            ConfigError: If the user's code fails, returns no graph, or does not take `senders`,
                which several processes need.
        """
        more = {} if senders is None else {"senders": senders, "first": first}
        if more and not self._spans:
            self._plug.refuse("arguments senders and first, for several processes", "none of them")
        with self._plug.errors():
            made = self._function(nodes, **more)
        graph = Data(edge_index=made) if isinstance(made, Tensor) else made
        if not isinstance(graph, Data):
            self._plug.refuse("edge_index or a Data", described(made))
        self._check(graph, len(nodes) if senders is None else len(senders), len(nodes))
        graph.x, graph.num_nodes = nodes, len(nodes)
        return graph

    def _check(self, graph: Data, sources: int, targets: int) -> None:
        edges, weight = graph.edge_index, graph.edge_weight
        if not isinstance(edges, Tensor) or edges.ndim != 2 or len(edges) != 2:
            self._plug.refuse("edge_index int64 [2, E]", described(edges))
        if edges.dtype != torch.int64:
            self._plug.refuse("edge_index int64 [2, E]", described(edges))
        if weight is not None and (
            not isinstance(weight, Tensor) or weight.shape != edges.shape[1:]
        ):
            self._plug.refuse(f"edge_weight {list(edges.shape[1:])}", described(weight))
        if edges.is_cuda or not edges.numel():
            return  # each check of values would synchronise the device
        for name, row, count in (("sources", edges[0], sources), ("targets", edges[1], targets)):
            low, high = int(row.min()), int(row.max())
            if low < 0 or high >= count:
                self._plug.refuse(f"{name} from 0 to {count - 1}", f"{low} to {high}")
        if weight is not None and not bool(weight.isfinite().all()):
            self._plug.refuse("finite edge_weight", "NaN or infinite values")


def build_graph(config: ModelConfig) -> GraphFunction:
    """Return the function that builds the batch graph.

    Raises:
        ConfigError: If code of the user cannot be imported or made.
    """
    if config.graph == "complete":
        return complete_batch
    if config.graph in GRAPHS:
        return partial(GRAPHS[config.graph], **config.graph_args)
    return PluggedGraph(config)
