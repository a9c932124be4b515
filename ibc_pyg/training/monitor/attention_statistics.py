"""What the attention of a batch is spent on: the own class, the node itself, nobody."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ibc_pyg.nn.conv.complete_edges import union_attention
from ibc_pyg.nn.conv.step import MPNStep
from ibc_pyg.nn.model import IntraBatchModel

TOLERANCE = 1e-2
"""How far from one the weights of a receiver may sum, as those of a layer in 16-bit floats do."""


def has_attention(model: IntraBatchModel) -> bool:
    """Tell whether all graph layers of the model can return attention weights."""
    steps = [] if model.mpn is None else list(model.mpn.steps)
    return bool(steps) and all(getattr(step.conv, "has_attention", False) for step in steps)


def attention_of(model: IntraBatchModel, embedding: Tensor) -> list[Tensor]:
    """Return the attention of each step without dropout, and leave everything else as it is.

    Nothing is drawn from torch's generators, no statistic of a batch normalisation moves, and no
    gradient is recorded.

    Args:
        model: Its graph layers return attention weights, see `has_attention`.
        embedding: Raw backbone embeddings `[N, D]`.

    Returns:
        Weights of each step, `[H, N, N]`, receiver first; zero where there is no edge.
    """
    mpn = model.mpn
    assert mpn is not None
    modes = [(module, module.training) for module in mpn.modules()]
    devices = [embedding.device] if embedding.device.type == "cuda" else []
    found: list[Tensor] = []
    try:
        mpn.eval()
        # A layer of the user's own may draw numbers even in evaluation mode.
        with torch.no_grad(), torch.random.fork_rng(devices=devices):
            graph = model.graph(F.normalize(embedding.detach().float(), dim=-1))  # [N, D]
            edges = (graph.edge_index, graph.edge_weight)
            x = mpn.first_linear(graph.x)  # [N, C]
            for number, step in enumerate(mpn.steps, start=1):
                assert isinstance(step, MPNStep)
                found.append(_dense(step.conv, x, *edges))
                if number < len(mpn.steps):
                    x, _ = step(x, *edges)
    finally:
        for module, training in modes:
            module.training = training
    return found


def _dense(
    conv: nn.Module, x: Tensor, edge_index: Tensor | None, edge_weight: Tensor | None
) -> Tensor:
    _, weights = conv(x, edge_index, edge_weight, return_attention_weights=True)
    if isinstance(weights, Tensor):
        return weights  # [H, N, N]
    # The layer names its edges itself: some add self-loops.
    edges, alpha = weights
    return union_attention(alpha, edges, 1, len(x))[0]  # [H, N, N]


def attention_statistics(alpha: Tensor, labels: Tensor, *, null_node: bool) -> dict[str, Tensor]:
    r"""Return entropy and shares of attention, means over receivers.

    With K images of each of the classes in a batch of N and a null node, attention that is spread
    evenly has the entropy log(N + 1), gives the own class K / (N + 1), the node itself and the null
    node 1 / (N + 1) each.

    Args:
        alpha: Attention weights `[H, N, N]`, receiver first.
        labels: Classes of the nodes, int64 `[N]`.
        null_node: Whether what is missing to one in a row falls on a null node.

    Returns:
        Scalars: `entropy_head0` ... in nats, in `[0, log(N + 1)]`; and, over all heads and in
        `[0, 1]`, `own_class` (the node itself included), `self` and, with a null node, `null_node`.
        Nothing if the weights of some receiver are no shares of one.
    """
    alpha = alpha.float()
    total = alpha.sum(-1)  # [H, N]
    missing = 1.0 - total  # [H, N]
    distributed = missing >= -TOLERANCE if null_node else missing.abs() <= TOLERANCE
    if not bool((distributed & (alpha >= 0).all(-1)).all()):
        return {}
    null = missing.clamp(0.0, 1.0)  # [H, N]
    entropy = torch.special.entr(alpha).sum(-1)  # [H, N]
    if null_node:
        entropy = entropy + torch.special.entr(null)
    same = labels[:, None] == labels[None, :]  # [N, N]
    values = {f"entropy_head{head}": value for head, value in enumerate(entropy.mean(-1))}
    values["own_class"] = (alpha * same).sum(-1).mean()
    values["self"] = alpha.diagonal(dim1=-2, dim2=-1).mean()
    if null_node:
        values["null_node"] = null.mean()
    return values
