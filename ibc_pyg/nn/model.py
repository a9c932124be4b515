"""The method on one screen: images, embeddings, batch graph, refined nodes, logits."""

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
"""From nodes [N, D] to a graph; `edge_index` None stands for the complete graph. With several
processes it is also given `senders`, everybody's nodes [M, D], and `first`, our place there."""


def complete_batch(nodes: Tensor) -> Data:
    """Return the batch as a complete graph whose edges are left to the layer (`edge_index` None).

    A layer with a dense form never makes the N^2 edges; the others make them once a size.
    """
    return Data(x=nodes)


@dataclass
class ModelOutput:
    """What one batch gives.

    Attributes:
        embedding: Raw backbone embedding, `[N, D]`.
        nodes: Refined nodes of each head, `[N, D']` each; empty without message passing.
        node_logits: Class logits of the refined nodes, `[N, C]` each.
        auxiliary_logits: Class logits of the raw embedding, `[N, C]`.
        attention: Weights of each step, `[H, N, N]` with the receiver first, if asked for.
    """

    embedding: Tensor
    nodes: list[Tensor]
    node_logits: list[Tensor]
    auxiliary_logits: Tensor
    attention: list[Tensor]


class IntraBatchModel(nn.Module):
    """Backbone, batch graph, message passing and the two heads (https://arxiv.org/abs/2102.07753).

    Args:
        backbone: Images `[N, C, H, W]` to raw embeddings `[N, D]`.
        mpn: Refines nodes; None for a plain classifier.
        node_heads: One classifier for each output of the MPN.
        auxiliary_head: Classifier of the raw embedding.
        graph: Makes the batch graph.
        freeze_batch_norm: The backbone's batch normalisations keep their statistics in training.
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
        """Stop the training of parts of the backbone, named as in `body.layer1`; only of these."""
        self.frozen = parts
        freeze_parameters(self.backbone, parts)
        self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        """Set the training mode; frozen batch normalisations stay in evaluation mode."""
        super().train(mode)
        keep_statistics(self.backbone, None if self.freeze_batch_norm else self.frozen)
        return self

    def forward(self, images: Tensor, *, return_attention: bool = False) -> ModelOutput:
        """Refine one batch.

        Args:
            images: Float32 `[N, C, H, W]`.
            return_attention: Also return the attention of each step.
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
