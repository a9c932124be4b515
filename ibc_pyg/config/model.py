"""The backbone, the batch graph and the message passing network (MPN)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from ibc_pyg.config.checks import check


@dataclass
class ModelConfig:
    """The backbone, the batch graph and the message passing network (MPN)."""

    backbone: str = "conv4"
    """Name of the network that makes the embeddings; timm:NAME for one of timm's."""
    backbone_args: dict[str, Any] = field(default_factory=dict)
    """Further arguments of the backbone."""
    weights: str | None = None
    """Weights to start from: a file, a name that torchvision knows, or pretrained, those that
    torchvision or timm recommends."""
    freeze: list[str] = field(default_factory=list)
    """Parts of the backbone that are never trained: beginnings of its parameters' names, such as
    body.layer1; their batch normalisations keep their statistics."""
    gradient_checkpointing: bool = False
    """Keep only the inputs of the backbone's blocks and compute the rest again on the way back:
    less memory, about a third more time."""
    freeze_batch_norm: bool = False
    """The backbone's batch normalisations keep the statistics they start with."""
    sync_batch_norm: bool = True
    """Where several processes share a batch, the backbone's batch normalisations take the
    statistics of all of it, as those of the heads always do; false: of each process's images."""
    embedding_dim: int = 128
    """D: width of embeddings and nodes."""
    steps: int = 1
    """L: message-passing steps; 0 leaves the auxiliary head and its loss alone."""
    conv: str = "IntraBatchConv"
    """Graph layer: a name in torch_geometric.nn, none, a dotted path, or FILE.py:CLASS."""
    conv_args: dict[str, Any] = field(default_factory=dict)
    """Further arguments of the graph layer."""
    heads: int = 4
    """H: attention heads; with IntraBatchConv they divide embedding_dim."""
    null_node: bool = True
    """Softmax-plus-one: one more node whose key and value are zero."""
    self_loops: bool = True
    """Each node also attends to itself."""
    fuse: bool = True
    """On the complete graph, compute a PyG layer by its dense twin, where there is one."""
    graph: Literal["complete", "threshold", "knn"] = "complete"
    """Which nodes of the batch are neighbours."""
    graph_args: dict[str, Any] = field(default_factory=dict)
    """Further arguments of the graph's function, as `k` for knn."""
    mpn_args: dict[str, Any] = field(default_factory=dict)
    """Further arguments of the MPN: dropout rates, residuals, norms, `every_step`, ..."""
    node_neck: bool = True
    """The classifier of the nodes is batch normalisation and a linear layer without bias; false: a
    plain linear layer."""
    auxiliary_neck: bool = False
    """The same for the classifier of the embeddings."""

    def __post_init__(self) -> None:
        """Check ranges; raise ConfigError."""
        check("model.embedding_dim", self.embedding_dim >= 1, ">= 1", self.embedding_dim)
        check("model.steps", self.steps >= 0, ">= 0", self.steps)
        check("model.heads", self.heads >= 1, ">= 1", self.heads)
        check(
            "model.heads",
            # Other layers get a linear layer that brings the width back.
            self.conv != "IntraBatchConv" or self.embedding_dim % self.heads == 0,
            f"a divisor of model.embedding_dim = {self.embedding_dim}",
            self.heads,
        )
