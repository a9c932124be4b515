"""Softmax over the incoming edges of a node, with a null node."""

from __future__ import annotations

from torch import Tensor
from torch_geometric.utils import scatter


def softmax_plus_one(src: Tensor, index: Tensor, num_nodes: int) -> Tensor:
    r"""Compute the softmax over the edges of each receiver and one more edge of score 0.

    .. math::
        \alpha_e = \frac{\exp(s_e - m)}{\exp(-m) + \sum_{f \to i} \exp(s_f - m)},
        \qquad m = \max(0, \max_{f \to i} s_f)

    The extra edge comes from a *null node* with zero key and zero value, so that the attention
    weights of a receiver can all be small.

    Args:
        src: Scores, `[E, H]`.
        index: Receiver of each edge, int64 `[E]`.
        num_nodes: Number N of nodes.

    Returns:
        Attention weights, `[E, H]`; those of one receiver sum to less than 1.
    """
    # The maximum only keeps exp in range; it cancels, so it needs no gradient.
    peak = scatter(src.detach(), index, 0, num_nodes, reduce="max").clamp(min=0)  # [N, H]
    weight = (src - peak.index_select(0, index)).exp()  # [E, H]
    total = scatter(weight, index, 0, num_nodes, reduce="sum") + (-peak).exp()  # [N, H]
    alpha: Tensor = weight / total.index_select(0, index)  # [E, H]
    return alpha
