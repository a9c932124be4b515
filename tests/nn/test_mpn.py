"""The MPN: switches, shapes, and one step spelled out by hand."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ibc_pyg.graph import complete, threshold
from ibc_pyg.nn.conv.intra_batch_conv import IntraBatchConv
from ibc_pyg.nn.mpn import MPN, MPNOutput
from ibc_pyg.nn.mpn_config import MPNConfig

TOL = {"atol": 1e-5, "rtol": 1e-5}


def make_x(N: int = 11, C: int = 16, seed: int = 0) -> Tensor:
    return F.normalize(torch.randn(N, C, generator=torch.Generator().manual_seed(seed)), dim=1)


def step_by_hand(mpn: MPN, number: int, x: Tensor, **on: bool) -> Tensor:
    """Compute one step in plain tensor operations; parts are on by default."""
    step = mpn.steps[number]
    update = step.conv(x)
    x = x + update if on.get("residual_conv", True) else update
    if on.get("norm_conv", True):
        x = F.layer_norm(x, x.shape[-1:], step.norm_conv.weight, step.norm_conv.bias)
    update = x
    if on.get("mlp", True):
        first, last = step.mlp[0], step.mlp[3]
        update = F.linear(F.relu(F.linear(x, first.weight, first.bias)), last.weight, last.bias)
    x = x + update if on.get("residual_mlp", True) else update
    if on.get("norm_mlp", True):
        x = F.layer_norm(x, x.shape[-1:], step.norm_mlp.weight, step.norm_mlp.bias)
    return x


@pytest.mark.parametrize(
    "switches",
    [
        {},
        {"residual_conv": False},
        {"residual_mlp": False},
        {"norm_conv": False},
        {"norm_mlp": False},
        {"mlp": False},
        {"mlp": False, "norm_conv": False, "norm_mlp": False, "residual_conv": False},
    ],
)
def test_each_part_can_be_switched_off(switches: dict[str, bool]) -> None:
    torch.manual_seed(0)
    mpn = MPN(16, 2, heads=4, **switches).eval()
    for p in mpn.parameters():
        nn.init.normal_(p, std=0.3)
    x = make_x()
    want = F.linear(x, mpn.first_linear.weight, mpn.first_linear.bias)
    want = step_by_hand(mpn, 1, step_by_hand(mpn, 0, want, **switches), **switches)
    out = mpn(x)
    assert isinstance(out, MPNOutput)
    assert len(out.features) == 1
    assert out.attention == []
    torch.testing.assert_close(out.features[0], want, **TOL)


def test_hidden_width_is_four_times_the_width() -> None:
    mpn = MPN(16, 1, reduction=2)
    assert mpn.first_linear.weight.shape == (8, 16)
    assert mpn.steps[0].mlp[0].weight.shape == (32, 8)
    assert MPN(16, 1, mlp_ratio=2).steps[0].mlp[0].weight.shape == (32, 16)


def test_outputs_of_every_step_and_side_by_side() -> None:
    torch.manual_seed(0)
    every = MPN(16, 3, heads=2, reduction=2, every_step=True).eval()
    last = MPN(16, 3, heads=2, reduction=2).eval()
    joined = MPN(16, 3, heads=2, reduction=2, concatenate=True).eval()
    last.load_state_dict(every.state_dict())
    joined.load_state_dict(every.state_dict())
    assert (every.num_outputs, last.num_outputs, joined.num_outputs) == (3, 1, 1)
    assert (every.out_channels, last.out_channels, joined.out_channels) == (8, 8, 24)
    x = make_x()
    steps = every(x).features
    assert [f.shape for f in steps] == [(11, 8)] * 3
    assert torch.equal(last(x).features[0], steps[2])
    assert torch.equal(joined(x).features[0], torch.cat(steps, dim=1))


def test_no_step_is_the_identity() -> None:
    for switches in ({}, {"every_step": True}, {"concatenate": True}, {"reduction": 4}):
        mpn = MPN(16, 0, **switches)
        assert list(mpn.parameters()) == []
        assert (mpn.num_outputs, mpn.out_channels) == (1, 16)
        x = make_x()
        out = mpn(x, return_attention=True)
        assert len(out.features) == 1
        assert out.features[0] is x
        assert out.attention == []


def test_first_linear_can_be_omitted() -> None:
    torch.manual_seed(0)
    mpn = MPN(16, 1, first_linear=False).eval()
    x = make_x()
    assert isinstance(mpn.first_linear, nn.Identity)
    torch.testing.assert_close(mpn(x).features[0], step_by_hand(mpn, 0, x), **TOL)


@pytest.mark.parametrize("null_node", [True, False])
@pytest.mark.parametrize("self_loops", [True, False])
def test_edges_give_what_the_complete_graph_gives(null_node: bool, self_loops: bool) -> None:
    torch.manual_seed(0)
    mpn = MPN(16, 2, heads=2, null_node=null_node, self_loops=self_loops).eval()
    x = make_x()
    graph = complete(x, self_loops=self_loops)
    dense = mpn(x, return_attention=True)
    sparse = mpn(x, graph.edge_index, return_attention=True)
    torch.testing.assert_close(dense.features[0], sparse.features[0], **TOL)
    torch.testing.assert_close(dense.features[0], mpn(x).features[0], **TOL)
    assert [a.shape for a in dense.attention] == [(2, 11, 11)] * 2
    for a, b in zip(dense.attention, sparse.attention, strict=True):
        target, source = graph.edge_index[1], graph.edge_index[0]
        torch.testing.assert_close(a[:, target, source].T, b, **TOL)


def test_weighted_graph_trains() -> None:
    torch.manual_seed(0)
    mpn = MPN(16, 2, heads=2)
    x = make_x().requires_grad_()
    graph = threshold(x, 0.1)
    mpn(x, graph.edge_index, graph.edge_weight).features[0].square().sum().backward()
    assert x.grad is not None
    assert torch.isfinite(x.grad).all()
    assert all(p.grad is not None for p in mpn.parameters())


def test_batched_graphs() -> None:
    torch.manual_seed(0)
    mpn = MPN(16, 2, heads=2, every_step=True).eval()
    x = torch.stack([make_x(seed=s) for s in range(3)])
    out = mpn(x, return_attention=True)
    for b in range(3):
        one = mpn(x[b], return_attention=True)
        for s in range(2):
            torch.testing.assert_close(out.features[s][b], one.features[s], **TOL)
            torch.testing.assert_close(out.attention[s][b], one.attention[s], **TOL)


@pytest.mark.parametrize("where", ["attention", "conv", "hidden", "mlp"])
def test_each_dropout_rate_acts_alone(where: str) -> None:
    torch.manual_seed(0)
    rates = {f"dropout_{w}": 0.5 if w == where else 0.0 for w in ("attention", "conv", "hidden")}
    rates["dropout_mlp"] = 0.5 if where == "mlp" else 0.0
    mpn = MPN(16, 1, heads=2, **rates)
    x = make_x()
    assert not torch.equal(mpn(x).features[0], mpn(x).features[0])
    mpn.eval()
    assert torch.equal(mpn(x).features[0], mpn(x).features[0])


def test_published_rates_are_the_default() -> None:
    step = MPN(16, 1).steps[0]
    rates = (step.conv.dropout, step.dropout_conv.p, step.mlp[2].p, step.dropout_mlp.p)
    assert rates == (0.1, 0.1, 0.1, 0.1)
    assert isinstance(step.conv, IntraBatchConv)
    assert step.conv.null_node
    assert step.conv.self_loops


def test_config_is_frozen_and_has_no_unknown_options() -> None:
    mpn = MPN(16, 2, heads=4, every_step=True)
    assert mpn.config == MPNConfig(16, 2, heads=4, every_step=True)
    with pytest.raises(FrozenInstanceError):
        mpn.config.heads = 2
    with pytest.raises(TypeError, match="unexpected keyword argument 'head'"):
        MPN(16, head=4)


def test_single_node() -> None:
    mpn = MPN(16, 2, heads=2)
    assert mpn(make_x(1)).features[0].shape == (1, 16)


def test_bad_input_names_argument_and_values() -> None:
    mpn = MPN(16, 1)
    nan = make_x()
    nan[0, 0] = torch.nan
    calls = [
        (lambda: MPN(0), "channels must be at least 1, got 0"),
        (lambda: MPN(16, -1), "steps must be at least 0, got -1"),
        (lambda: MPN(16, heads=3), "heads=3 and out_channels=16"),
        (lambda: MPN(16, reduction=3), "reduction=3 and channels=16"),
        (lambda: MPN(16, reduction=2, first_linear=False), "reduction=2 needs first_linear"),
        (lambda: MPN(16, mlp_ratio=0), "mlp_ratio must be at least 1, got 0"),
        (lambda: MPN(16, dropout_hidden=1.5), "dropout_hidden must be .* got 1.5"),
        (lambda: MPN(16, every_step=True, concatenate=True), "every_step and concatenate"),
        (lambda: mpn(nan), "x must be finite, got 1 of 176"),
        (lambda: mpn(make_x(C=8)), "x must have 16 channels, got 8"),
        (lambda: mpn(make_x()[:0]), "x must have at least 1 node"),
        (lambda: mpn(make_x(3), torch.tensor([[0], [3]])), "0..2 for 3 nodes, got 3"),
        (
            lambda: MPN(16, conv="GraphConv")(make_x(), return_attention=True),
            "return_attention .* conv='GraphConv'",
        ),
    ]
    for call, message in calls:
        with pytest.raises(ValueError, match=message):
            call()
