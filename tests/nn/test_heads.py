"""Heads against the closed form."""

from __future__ import annotations

import pytest
import torch

from ibc_pyg.nn.heads import BNNeckHead, LinearHead


def test_bnneck_is_normalise_scale_project() -> None:
    torch.manual_seed(0)
    head = BNNeckHead(6, 4)
    x = 3 * torch.randn(50, 6) + 1
    logits = head(x)
    unit = (x - x.mean(0)) / (x.var(0, unbiased=False) + 1e-5).sqrt()
    torch.testing.assert_close(logits, unit @ head.linear.weight.T, atol=1e-6, rtol=1e-4)
    head.eval()
    kept = (x - head.norm.running_mean) / (head.norm.running_var + 1e-5).sqrt()
    torch.testing.assert_close(head(x), kept @ head.linear.weight.T, atol=1e-6, rtol=1e-4)


def test_bnneck_shift_stays_zero() -> None:
    head = BNNeckHead(6, 4)
    names = {name for name, p in head.named_parameters() if p.requires_grad}
    assert names == {"norm.weight", "linear.weight"}
    head(torch.randn(5, 6)).sum().backward()
    assert head.norm.bias.grad is None
    assert torch.equal(head.norm.bias, torch.zeros(6))


@pytest.mark.parametrize("make", [BNNeckHead, LinearHead])
def test_batches_of_graphs_are_rows(make: type[BNNeckHead] | type[LinearHead]) -> None:
    torch.manual_seed(0)
    head = make(6, 4)
    x = torch.randn(3, 5, 6)
    torch.testing.assert_close(head(x), head(x.view(15, 6)).view(3, 5, 4))
    for sizes, message in (((0, 4), "channels .* got 0"), ((6, 0), "num_classes .* got 0")):
        with pytest.raises(ValueError, match=message):
            make(*sizes)


def test_linear_head_has_a_bias() -> None:
    head = LinearHead(6, 4)
    x = torch.randn(5, 6)
    torch.testing.assert_close(head(x), x @ head.linear.weight.T + head.linear.bias)
