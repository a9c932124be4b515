"""The model: images, embeddings, batch graph, refined nodes, logits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric.data import Data

from ibc_pyg.nn.freezing import freeze_parameters, keep_statistics
from ibc_pyg.nn.mpn import MPN
from ibc_pyg.nn.senders import senders_of

GraphFunction = Callable[..., Data]
"""Function from nodes `[N, D]` to a graph; `edge_index` None is the complete graph. With several
processes it also takes `senders`, the nodes of all processes `[M, D]`, and `first`, the index of
the first own node among them."""


def complete_batch(nodes: Tensor) -> Data:
    """Return the batch as a complete graph without explicit edges (`edge_index` None).

    A layer with a dense form never creates the N^2 edges; other layers cache them by size.
    """
    return Data(x=nodes)


@dataclass
class ModelOutput:
    """Output of the model for one batch.

    Attributes:
        embedding: Raw backbone embedding, `[N, D]`.
        nodes: Refined nodes of each head, `[N, D']` each; empty without message passing.
        node_logits: Class logits of the refined nodes, `[N, C]` each.
        auxiliary_logits: Class logits of the raw embedding, `[N, C]`.
        attention: Attention weights of each step, `[H, N, N]`, receiver first, if requested.
    """

    embedding: Tensor
    nodes: list[Tensor]
    node_logits: list[Tensor]
    auxiliary_logits: Tensor
    attention: list[Tensor]


class IntraBatchModel(nn.Module):
    """Backbone, batch graph, message passing and two heads (https://arxiv.org/abs/2102.07753).

    Args:
        backbone: Maps images `[N, C, H, W]` to raw embeddings `[N, D]`.
        mpn: Message passing network; None for a plain classifier.
        node_heads: One classifier for each output of the MPN.
        auxiliary_head: Classifier of the raw embedding.
        graph: Function that builds the batch graph.
        freeze_batch_norm: Keep the statistics of the backbone's batch normalisations in training.
    """

    def __init__(
        self,
        backbone: nn.Module,
        mpn: MPN | None,
        node_heads: list[nn.Module],
        auxiliary_head: nn.Module,
        graph: GraphFunction = complete_batch,
        *,
        freeze_batch_norm: bool = False,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.mpn = mpn
        self.node_heads = nn.ModuleList(node_heads)
        self.auxiliary_head = auxiliary_head
        self.graph = graph
        self.freeze_batch_norm = freeze_batch_norm
        self.frozen: tuple[str, ...] = ()

    def freeze(self, parts: tuple[str, ...]) -> None:
        """Freeze the named parts of the backbone, such as `body.layer1`, and no others."""
        self.frozen = parts
        freeze_parameters(self.backbone, parts)
        self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        """Set the training mode; frozen batch normalisations stay in evaluation mode."""
        super().train(mode)
        keep_statistics(self.backbone, None if self.freeze_batch_norm else self.frozen)
        return self

    def forward(self, images: Tensor, *, return_attention: bool = False) -> ModelOutput:
        """Compute embeddings, refined nodes and logits of one batch.

        Args:
            images: Float32 `[N, C, H, W]`.
            return_attention: Also return the attention weights of each step.
        """
        embedding = self.backbone(images)  # [N, D]
        nodes: list[Tensor] = []
        attention: list[Tensor] = []
        if self.mpn is not None:
            # The MPN reads the unit-norm embedding, the auxiliary head the raw one.
            graph = self._connect(F.normalize(embedding, dim=-1))  # [N, D]
            refined = self.mpn(
                graph.x, graph.edge_index, graph.edge_weight, return_attention=return_attention
            )
            nodes, attention = refined.features, refined.attention  # L x [N, D']
        node_logits = [head(x) for head, x in zip(self.node_heads, nodes, strict=True)]  # [N, C]
        return ModelOutput(embedding, nodes, node_logits, self.auxiliary_head(embedding), attention)

    def _connect(self, nodes: Tensor) -> Data:
        senders = None
        if self.training and self.graph is not complete_batch:
            senders = senders_of(nodes)  # [M, D], of all processes
        if senders is None:
            return self.graph(nodes)
        return self.graph(nodes, senders=senders.x, first=senders.first)

    def embed(self, images: Tensor) -> Tensor:
        """Return the descriptors for retrieval: unit-norm float32 `[N, D]`."""
        return F.normalize(self.backbone(images).float(), dim=-1)  # [N, D]
