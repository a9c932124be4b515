"""Scores a . relu(l_j + r_i) of every pair of nodes, without a tensor `[N, N, C]`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ibc_pyg.nn.conv.fused._dense import receiver_blocks

# A block of pairs is written and read several times: on a CPU it should fit in the caches, on a GPU
# it should be large enough to occupy the device.
_CPU_BLOCK_BYTES = 4 * 2**20
_GPU_BLOCK_BYTES = 128 * 2**20


def _blocks(left: Tensor, right: Tensor) -> list[tuple[int, int]]:
    senders, channels = left.shape[-2:]
    budget = _CPU_BLOCK_BYTES if left.device.type == "cpu" else _GPU_BLOCK_BYTES
    return receiver_blocks(right.size(-2), senders * channels * left.element_size(), budget)


@torch.library.custom_op("ibc_pyg::relu_scores", mutates_args=())
def _relu_scores(left: Tensor, right: Tensor, weight: Tensor) -> Tensor:
    """Return scores `[G, N, M]` of senders `[G, M, C]`, receivers `[G, N, C]`, weights `[G, C]`."""
    graphs, senders, channels = left.shape
    scores = left.new_empty(graphs, right.size(1), senders)  # [G, N, M]
    blocks = _blocks(left, right)
    pairs = left.new_empty(blocks[0][1], senders, channels)  # [R, M, C]
    for g in range(graphs):
        for start, stop in blocks:
            block = pairs[: stop - start]
            torch.add(left[g].unsqueeze(0), right[g, start:stop].unsqueeze(1), out=block)
            block.relu_()
            torch.mv(block.view(-1, channels), weight[g], out=scores[g, start:stop].view(-1))
    return scores


@_relu_scores.register_fake
def _(left: Tensor, right: Tensor, weight: Tensor) -> Tensor:
    return left.new_empty(left.size(0), right.size(1), left.size(1))


@torch.library.custom_op("ibc_pyg::relu_scores_backward", mutates_args=())
def _relu_scores_backward(grad: Tensor, left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
    """Sum `grad`, `[G, N, M]`, over the pairs above zero, per sender and per receiver."""
    graphs, senders, channels = left.shape
    per_sender = torch.zeros_like(left)  # [G, M, C]
    per_receiver = torch.empty_like(right)  # [G, N, C]
    blocks = _blocks(left, right)
    pairs = left.new_empty(blocks[0][1], senders, channels)  # [R, M, C]
    for g in range(graphs):
        for start, stop in blocks:
            block, rows = pairs[: stop - start], grad[g, start:stop]
            torch.add(left[g].unsqueeze(0), right[g, start:stop].unsqueeze(1), out=block)
            block.gt_(0)  # the derivative of relu, zero at zero as in torch
            torch.bmm(rows.unsqueeze(1), block, out=per_receiver[g, start:stop].unsqueeze(1))
            block.mul_(rows.unsqueeze(-1))
            per_sender[g] += block.sum(0)
    return per_sender, per_receiver


@_relu_scores_backward.register_fake
def _(grad: Tensor, left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
    return torch.empty_like(left), torch.empty_like(right)


def _save(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    left, right, weight = ctx.saved_tensors
    per_sender, per_receiver = _relu_scores_backward(grad.contiguous(), left, right)
    # As relu(t) = t [t > 0], the gradient of the weights needs no third pass over the pairs.
    grad_weight = (left * per_sender).sum(1) + (right * per_receiver).sum(1)  # [G, C]
    scale = weight.unsqueeze(1)  # [G, 1, C]
    return scale * per_sender, scale * per_receiver, grad_weight


_relu_scores.register_autograd(_backward, setup_context=_save)


def relu_scores(left: Tensor, right: Tensor, weight: Tensor) -> Tensor:
    r"""Compute :math:`e_{ij} = \sum_c a_c \, \mathrm{relu}(l_{jc} + r_{ic})`.

    Time is O(N M C), memory O(N M): the pairs are computed for a block of receivers at a time, and
    again in the backward pass. Differentiable once in all three arguments.

    Args:
        left: Features of the senders, `[B, H, M, C]`.
        right: Features of the receivers, `[B, H, N, C]`.
        weight: Weights a, `[H, C]`.

    Returns:
        Scores `[B, H, N, M]`, receiver i before sender j.
    """
    batch, heads, senders, channels = left.shape
    groups, receivers = batch * heads, right.size(-2)
    scores: Tensor = _relu_scores(
        left.reshape(groups, senders, channels),
        right.reshape(groups, receivers, channels),
        weight.expand(batch, heads, channels).reshape(groups, channels),
    )
    return scores.view(batch, heads, receivers, senders)
