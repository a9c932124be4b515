"""`CompleteGATConv`: blocks of receivers and sorting, against dense attention."""

from __future__ import annotations

import pytest
import torch
from torch_geometric.nn import GATConv

from ibc_pyg.nn.conv.fused import fuse, gat_conv


@pytest.mark.parametrize("slope", [0.2, -0.5])
def test_blocks_of_receivers_change_nothing(slope: float, monkeypatch: pytest.MonkeyPatch) -> None:
    twin = fuse(
        GATConv(6, 4, heads=2, negative_slope=slope, add_self_loops=False), self_loops=False
    )
    x = torch.randn(2, 11, 6, requires_grad=True)

    def run() -> tuple[torch.Tensor, ...]:
        out = twin(x)
        return out, *torch.autograd.grad(out.square().sum(), [x, *twin.parameters()])

    whole = run()
    monkeypatch.setattr(gat_conv, "_BLOCK_BYTES", 600)  # three receivers of 2 x 2 x 11 x 4 bytes
    torch.testing.assert_close(run(), whole, atol=1e-5, rtol=1e-5)


def test_recomputed_blocks_drop_the_same_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """The backward pass drops the same weights as the forward pass."""
    monkeypatch.setattr(gat_conv, "_BLOCK_BYTES", 600)
    twin = fuse(GATConv(6, 4, heads=2, dropout=0.5).double())
    x = torch.randn(2, 9, 6, dtype=torch.double, requires_grad=True)

    def run(x: torch.Tensor) -> torch.Tensor:
        with torch.random.fork_rng():
            torch.manual_seed(5)
            return twin(x)

    assert torch.autograd.gradcheck(run, (x,))


@pytest.mark.parametrize("slope", [0.0, 0.2, 1.0])
@pytest.mark.parametrize("count", [1, 2, 23])
def test_sorting_changes_nothing(count: int, slope: float, monkeypatch: pytest.MonkeyPatch) -> None:
    twin = fuse(GATConv(6, 4, heads=2, negative_slope=slope))
    x = torch.randn(2, count, 6, requires_grad=True)

    def run() -> tuple[torch.Tensor, ...]:
        out = twin(x)
        return out, *torch.autograd.grad(out.square().sum(), [x, *twin.parameters()])

    by_pairs = run()
    monkeypatch.setattr(gat_conv, "_SORT_FROM_NODES", 1)
    torch.testing.assert_close(run(), by_pairs, atol=1e-5, rtol=1e-5)


def test_large_graph_is_sorted_and_equals_the_layer_on_edges() -> None:
    layer = GATConv(6, 4, heads=2)
    x = torch.randn(260, 6, requires_grad=True)
    node = torch.arange(260)
    edges = torch.stack([node.repeat(260), node.repeat_interleave(260)])
    results = []
    for out in (layer(x, edges), fuse(layer)(x)):
        results.append((out, *torch.autograd.grad(out.square().sum(), [x, *layer.parameters()])))
    torch.testing.assert_close(results[1], results[0], atol=1e-5, rtol=1e-4)
