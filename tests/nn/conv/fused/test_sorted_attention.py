"""Attention by sorting, against the softmax over all pairs in float64."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from ibc_pyg.nn.conv.fused.sorted_attention import sorted_attention


def by_pairs(sent: Tensor, received: Tensor, value: Tensor, slope: float) -> Tensor:
    scores = F.leaky_relu(received.unsqueeze(-1) + sent.unsqueeze(-2), slope)
    return scores.softmax(-1) @ value


@settings(max_examples=60, deadline=None)
@given(
    count=st.integers(1, 40),
    scale=st.sampled_from([0.0, 0.1, 1.0, 10.0, 100.0]),
    shift=st.sampled_from([-200.0, -3.0, 0.0, 3.0, 200.0]),
    slope=st.sampled_from([0.0, 0.01, 0.2, 0.9, 1.0]),
    seed=st.integers(0, 10**6),
)
def test_matches_all_pairs(count: int, scale: float, shift: float, slope: float, seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    sent = scale * torch.randn(2, 3, count, generator=draw)
    received = scale * torch.randn(2, 3, count, generator=draw) + shift
    value = torch.randn(2, 3, count, 4, generator=draw)
    expected = by_pairs(sent.double(), received.double(), value.double(), slope)
    actual = sorted_attention(sent, received, value, slope)
    # An exponent of a few hundred has a float32 rounding error of 3e-5, which its weight inherits.
    tolerance = 1e-5 + 4e-7 * (scale + abs(shift))
    torch.testing.assert_close(actual.double(), expected, atol=tolerance, rtol=tolerance)


def test_gradients_in_double() -> None:
    draw = torch.Generator().manual_seed(3)

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=draw, dtype=torch.double).requires_grad_()

    inputs = (random(1, 2, 7), random(1, 2, 7), random(1, 2, 7, 3))
    assert torch.autograd.gradcheck(lambda *args: sorted_attention(*args, 0.2), inputs)


def test_ties_and_zero_scores() -> None:
    """Equal scores in any order; at a score of zero LeakyReLU has the slope below zero."""
    sent = torch.tensor([[[1.0, -1.0, 1.0, -1.0]]], requires_grad=True)
    received = torch.tensor([[[1.0, -1.0, 0.0, 1.0]]], requires_grad=True)
    value = torch.arange(8.0).view(1, 1, 4, 2)
    weight = torch.tensor([[1.0, -2.0], [0.5, 3.0], [1.0, 1.0], [2.0, -1.0]])
    results = []
    for function in (by_pairs, sorted_attention):
        out = function(sent, received, value, 0.2)
        results.append((out, *torch.autograd.grad((out * weight).sum(), (sent, received))))
    torch.testing.assert_close(results[1], results[0], atol=1e-5, rtol=1e-5)


def test_large_graph_keeps_float32_accuracy() -> None:
    draw = torch.Generator().manual_seed(0)
    sent, received = torch.randn(2, 1, 1, 4096, generator=draw)
    value = torch.randn(1, 1, 4096, 8, generator=draw)
    expected = by_pairs(sent.double(), received.double(), value.double(), 0.2)
    actual = sorted_attention(sent, received, value, 0.2)
    torch.testing.assert_close(actual.double(), expected, atol=1e-5, rtol=1e-5)


def test_slope_out_of_range_is_named() -> None:
    zero = torch.zeros(1, 1, 2)
    with pytest.raises(ValueError, match=r"slope.*1\.5"):
        sorted_attention(zero, zero, torch.zeros(1, 1, 2, 3), 1.5)
