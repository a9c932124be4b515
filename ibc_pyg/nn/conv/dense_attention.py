"""Attention on a complete graph, without its edges."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class AttentionOptions:
    """Neighbours and dropout of the attention on a complete graph.

    Attributes:
        null_node: One more sender with zero key and zero value (softmax-plus-one).
        self_loops: Whether a node receives from itself.
        dropout: Rate at which attention weights are dropped; 0 for none.
        first: Index of the first receiver among the senders; used only without self-loops.
    """

    null_node: bool = True
    self_loops: bool = True
    dropout: float = 0.0
    first: int = 0


def dense_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    options: AttentionOptions,
    *,
    edge_weight: Tensor | None = None,
    need_weights: bool = False,
) -> tuple[Tensor, Tensor | None]:
    r"""Compute scaled dot-product attention of every receiver over every sender.

    .. math::
        \alpha_{ij} = \frac{\exp(s_{ij})}{z + \sum_k \exp(s_{ik})},
        \qquad s_{ij} = \mathbf{q}_i^\top \mathbf{k}_j / \sqrt{C},
        \qquad \mathbf{o}_i = \sum_j w_{ij} \, \mathrm{dropout}(\alpha_{ij}) \, \mathbf{v}_j

    with z = 1 for a null node, else z = 0. Receivers and senders may differ in number, so that a
    process can attend with its own nodes over the nodes of all processes.

    Without dropout (on an accelerator also with it), edge weights and `need_weights`, memory is
    linear in the number of nodes; without self-loops a mask of one byte per edge is added.
    Otherwise a few arrays `[B, H, Nq, Nk]` are created.

    Args:
        query: Queries of the receivers, `[B, H, Nq, C]`.
        key: Keys of the senders, `[B, H, Nk, C]`.
        value: Values of the senders, `[B, H, Nk, C]`.
        options: Null node, self-loops and dropout.
        edge_weight: Factor of the attention after softmax and dropout, `[Nq, Nk]` or
            `[B, Nq, Nk]`.
        need_weights: Return the attention weights too.

    Returns:
        Aggregated values, `[B, H, Nq, C]`, and the softmax before dropout and edge weights,
        `[B, H, Nq, Nk]`, or None unless `need_weights`.
    """
    # A single node without self-loop and null node has no sender: softmax is undefined.
    isolated = key.size(-2) == 1 and not options.self_loops and not options.null_node
    explicit = need_weights or edge_weight is not None or isolated
    if explicit or (options.dropout > 0.0 and query.device.type == "cpu"):
        out, alpha = _explicit(query, key, value, options, edge_weight)
        return out, alpha if need_weights else None
    mask = None
    if not options.self_loops:
        mask = query.new_ones(query.size(-2), key.size(-2) + options.null_node, dtype=torch.bool)
        mask.diagonal(options.first).fill_(False)  # [Nq, Nk (+ 1)]
    if options.null_node:
        key, value = _with_null_node(key), _with_null_node(value)
    out = F.scaled_dot_product_attention(
        query, key, value, attn_mask=mask, dropout_p=options.dropout
    )
    return out, None


def _with_null_node(senders: Tensor) -> Tensor:
    return F.pad(senders, (0, 0, 0, 1))  # [B, H, Nk + 1, C]


def _explicit(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    options: AttentionOptions,
    edge_weight: Tensor | None,
) -> tuple[Tensor, Tensor]:
    N = key.size(-2)
    senders = _with_null_node(key) if options.null_node else key
    # Scaling the smaller factor saves one pass over the N x N scores.
    scores = (query * query.size(-1) ** -0.5) @ senders.transpose(-1, -2)  # [B, H, Nq, Nk (+ 1)]
    if options.self_loops:
        alpha = scores.softmax(-1)
    elif N == 1 and not options.null_node:
        alpha = scores * 0.0
    else:
        scores.diagonal(options.first, dim1=-2, dim2=-1).fill_(-torch.inf)
        alpha = scores.softmax(-1)
    alpha = alpha[..., :N]  # [B, H, Nq, Nk]
    weights = F.dropout(alpha, options.dropout) if options.dropout > 0.0 else alpha
    if edge_weight is not None:
        weights = weights * edge_weight.unsqueeze(-3)
    return weights.to(value.dtype) @ value, alpha  # [B, H, Nq, C], [B, H, Nq, Nk]
