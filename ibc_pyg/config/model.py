"""Backbone, batch graph and message passing network (MPN)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any

from ibc_pyg.config.checks import Range, check, check_name, check_ranges

GRAPHS = ("complete", "threshold", "knn")
"""Graphs of this package."""


@dataclass
class ModelConfig:
    """Backbone, batch graph and message passing network (MPN)."""

    backbone: str = "conv4"
    """Name of the embedding network; timm:NAME for a network of timm; or FILE.py:NAME,
    package.module:NAME."""
    backbone_args: dict[str, Any] = field(default_factory=dict)
    """Further arguments of the backbone."""
    weights: str | None = None
    """Initial weights: a file, a name of weights in torchvision, or pretrained for the weights
    recommended by torchvision or timm."""
    freeze: list[str] = field(default_factory=list)
    """Parts of the backbone that are not trained: prefixes of parameter names, such as
    body.layer1; their batch normalisations keep their statistics."""
    gradient_checkpointing: bool = False
    """Keep only the inputs of the backbone's blocks and recompute other activations in the backward
    pass: less memory, about a third more time."""
    freeze_batch_norm: bool = False
    """Keep the initial statistics of the backbone's batch normalisations."""
    sync_batch_norm: bool = True
    """With several processes, compute the statistics of the backbone's batch normalisations over
    the whole batch, as always for the heads; false: over the images of each process."""
    embedding_dim: Annotated[int, Range(1, 65_536)] = 128
    """D: width of embeddings and nodes."""
    steps: Annotated[int, Range(0, 100)] = 1
    """L: message-passing steps; 0: only the auxiliary head and its loss."""
    conv: str = "IntraBatchConv"
    """Graph layer: a name in torch_geometric.nn, none, FILE.py:NAME, or package.module:NAME."""
    conv_args: dict[str, Any] = field(default_factory=dict)
    """Further arguments of the graph layer."""
    heads: Annotated[int, Range(1, 1024)] = 4
    """H: attention heads; with IntraBatchConv they divide embedding_dim."""
    null_node: bool = True
    """Softmax-plus-one: an additional node with zero key and value."""
    self_loops: bool = True
    """Each node also attends to itself."""
    fuse: bool = True
    """On the complete graph, use the dense implementation of a PyG layer, if there is one."""
    graph: str = "complete"
    """Graph over the images of a batch: complete, threshold, knn, or FILE.py:NAME."""
    graph_args: dict[str, Any] = field(default_factory=dict)
    """Further arguments of the graph function, such as `k` for knn."""
    mpn_args: dict[str, Any] = field(default_factory=dict)
    """Further arguments of the MPN: dropout rates, residuals, norms, `every_step`, ..."""
    node_neck: bool = True
    """Classify nodes by batch normalisation and a linear layer without bias; false: by a linear
    layer."""
    auxiliary_neck: bool = False
    """As `node_neck`, for the classifier of the embeddings."""

    def __post_init__(self) -> None:
        """Check ranges; raise ConfigError."""
        check_ranges("model", self)
        check_name("model.graph", self.graph, GRAPHS)
        check(
            "model.heads",
            # Other layers are followed by a linear layer that restores the width.
            self.conv != "IntraBatchConv" or self.embedding_dim % self.heads == 0,
            f"a divisor of model.embedding_dim = {self.embedding_dim}",
            self.heads,
        )
