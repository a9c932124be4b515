"""Blocked scores of pairs, against the tensor of all pairs."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ibc_pyg.nn.conv.fused import relu_scores as module
from ibc_pyg.nn.conv.fused.relu_scores import relu_scores


def by_pairs(left: Tensor, right: Tensor, weight: Tensor) -> Tensor:
    pairs = (left.unsqueeze(-3) + right.unsqueeze(-2)).relu()  # [B, H, N, N, C]
    return torch.einsum("bhijc,hc->bhij", pairs, weight)


def inputs(nodes: int, dtype: torch.dtype = torch.double) -> tuple[Tensor, Tensor, Tensor]:
    draw = torch.Generator().manual_seed(nodes)
    shapes = ((2, 3, nodes, 5), (2, 3, nodes, 5), (3, 5))
    first, second, third = (
        torch.randn(shape, generator=draw, dtype=dtype).requires_grad_() for shape in shapes
    )
    return first, second, third


@pytest.mark.parametrize("nodes", [1, 2, 7, 13])
@pytest.mark.parametrize("block_bytes", [1, 1000, 10**9])
def test_matches_all_pairs(nodes: int, block_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_CPU_BLOCK_BYTES", block_bytes)
    args = inputs(nodes)
    expected, actual = by_pairs(*args), relu_scores(*args)
    torch.testing.assert_close(actual, expected)
    weight = torch.linspace(-1, 1, expected.numel(), dtype=torch.double).view_as(expected)
    torch.testing.assert_close(
        torch.autograd.grad((actual * weight).sum(), args),
        torch.autograd.grad((expected * weight).sum(), args),
    )


def test_heads_as_views_of_one_projection() -> None:
    """Heads are transposed, not contiguous."""
    x = torch.randn(2, 6, 3, 5, dtype=torch.double).transpose(1, 2)
    weight = torch.randn(3, 5, dtype=torch.double)
    torch.testing.assert_close(relu_scores(x, x, weight), by_pairs(x, x, weight))


def test_gradcheck_and_operator_registration() -> None:
    assert torch.autograd.gradcheck(relu_scores, inputs(4))
    left, right, weight = (t.flatten(0, -3) if t.dim() == 4 else t.repeat(2, 1) for t in inputs(3))
    torch.library.opcheck(
        torch.ops.ibc_pyg.relu_scores.default,
        tuple(t.detach().requires_grad_() for t in (left, right, weight)),
        test_utils=("test_schema", "test_faketensor", "test_autograd_registration"),
    )


def test_derivative_at_zero_is_that_of_torch() -> None:
    zero = torch.zeros(1, 1, 3, 2, requires_grad=True)
    weight = torch.ones(1, 2)
    (grad,) = torch.autograd.grad(relu_scores(zero, zero.detach(), weight).sum(), zero)
    assert not grad.any()
