"""Attention of a complete graph without edges."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def dense_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    null_node: bool = True,
    self_loops: bool = True,
    dropout: float = 0.0,
    edge_weight: Tensor | None = None,
    query_offset: int = 0,
    need_weights: bool = False,
) -> tuple[Tensor, Tensor | None]:
    r"""Scaled dot-product attention of every receiver over every sender.

    .. math::
        \alpha_{ij} = \frac{\exp(s_{ij})}{z + \sum_k \exp(s_{ik})},
        \qquad s_{ij} = \mathbf{q}_i^\top \mathbf{k}_j / \sqrt{C},
        \qquad \mathbf{o}_i = \sum_j w_{ij} \, \mathrm{dropout}(\alpha_{ij}) \, \mathbf{v}_j

    with z = 1 (`null_node`: one more sender whose key and value are zero) or z = 0. Receivers and
    senders may differ in number, so that a process can attend with its own nodes over everybody's.

    Without dropout (on an accelerator with it too), edge weights or `need_weights`, memory grows
    with the number of nodes, not of edges; a mask of one byte per edge is added when `self_loops`
    is off. Otherwise a few arrays [B, H, Nq, Nk] are made.

    Args:
        query: queries of the receivers, [B, H, Nq, C].
        key: keys of the senders, [B, H, Nk, C].
        value: values of the senders, [B, H, Nk, C].
        null_node: softmax-plus-one instead of softmax.
        self_loops: whether a node receives from itself.
        dropout: rate at which attention weights are dropped; 0 for none.
        edge_weight: multiplies the attention after softmax and dropout, [Nq, Nk] or [B, Nq, Nk].
        query_offset: which sender the first receiver is; matters only without self-loops.
        need_weights: return the attention weights too.

    Returns:
        What each receiver takes in, [B, H, Nq, C], and the softmax before dropout and edge
        weights, [B, H, Nq, Nk], or None unless `need_weights`.

    """
    # The one node that hears nobody, not even the null node: the only row a softmax cannot make.
    lonely = key.size(-2) == 1 and not self_loops and not null_node
    explicit = need_weights or edge_weight is not None or lonely
    if explicit or (dropout > 0.0 and query.device.type == "cpu"):
        return _explicit(
            query,
            key,
            value,
            null_node=null_node,
            self_loops=self_loops,
            dropout=dropout,
            edge_weight=edge_weight,
            query_offset=query_offset,
            need_weights=need_weights,
        )
    mask = None
    if not self_loops:
        mask = query.new_ones(query.size(-2), key.size(-2) + null_node, dtype=torch.bool)
        mask.diagonal(query_offset).fill_(False)  # [Nq, Nk (+ 1)]
    if null_node:
        key, value = _with_null_node(key), _with_null_node(value)
    out = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=dropout)
    return out, None


def _with_null_node(senders: Tensor) -> Tensor:
    return F.pad(senders, (0, 0, 0, 1))  # [B, H, Nk + 1, C]


def _explicit(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    null_node: bool,
    self_loops: bool,
    dropout: float,
    edge_weight: Tensor | None,
    query_offset: int,
    need_weights: bool,
) -> tuple[Tensor, Tensor | None]:
    N = key.size(-2)
    senders = _with_null_node(key) if null_node else key
    # The scale goes into the smaller factor: one pass less over the N x N scores.
    scores = (query * query.size(-1) ** -0.5) @ senders.transpose(-1, -2)  # [B, H, Nq, Nk (+ 1)]
    if self_loops:
        alpha = scores.softmax(-1)
    elif N == 1 and not null_node:
        alpha = scores * 0.0
    else:
        scores.diagonal(query_offset, dim1=-2, dim2=-1).fill_(-torch.inf)
        alpha = scores.softmax(-1)
    alpha = alpha[..., :N]  # [B, H, Nq, Nk]
    weights = F.dropout(alpha, dropout) if dropout > 0.0 else alpha
    if edge_weight is not None:
        weights = weights * edge_weight.unsqueeze(-3)
    out = weights.to(value.dtype) @ value  # [B, H, Nq, C]
    return out, alpha if need_weights else None
