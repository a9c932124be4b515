"""Properties of every dense twin, against the PyG layer on the edges of the complete graph."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch_geometric.nn import GATConv, GATv2Conv, GCNConv, TransformerConv

from ibc_pyg.errors import ConfigError
from ibc_pyg.nn.conv.fused import CompleteGATConv, fuse, why_not_fusable

# float32 sums of at most a few hundred terms in another order.
TOLERANCE = {"atol": 1e-5, "rtol": 1e-5}
CHANNELS = 12


@dataclass(frozen=True)
class Case:
    make: Callable[..., nn.Module]
    arguments: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        words = [f"{key}={value}" for key, value in self.arguments.items()]
        return "-".join([self.make.__name__, *words])

    def layer(self, heads: int = 3) -> nn.Module:
        torch.manual_seed(0)
        layer = self.make(CHANNELS, 5, heads=heads, **self.arguments)
        with torch.no_grad():  # biases start at zero, which would hide a missing one
            for parameter in layer.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
        return layer


CASES = [
    Case(GATConv),
    Case(GATConv, {"add_self_loops": False}),
    Case(GATConv, {"concat": False, "residual": True}),
    Case(GATConv, {"negative_slope": 0.9, "bias": False}),
    Case(GATConv, {"negative_slope": 1.5}),
    Case(GATConv, {"negative_slope": 0.0, "fill_value": 0.3}),
    Case(GATv2Conv),
    Case(GATv2Conv, {"add_self_loops": False, "share_weights": True}),
    Case(GATv2Conv, {"concat": False, "residual": True}),
    Case(GATv2Conv, {"negative_slope": 0.9, "bias": False}),
    Case(GATv2Conv, {"negative_slope": -0.5, "residual": True}),
    Case(TransformerConv),
    Case(TransformerConv, {"beta": True}),
    Case(TransformerConv, {"concat": False, "beta": True, "bias": False}),
    Case(TransformerConv, {"root_weight": False}),
]
PLAIN = [Case(GATConv), Case(GATv2Conv), Case(TransformerConv)]
cases = pytest.mark.parametrize("case", CASES, ids=str)
plain = pytest.mark.parametrize("case", PLAIN, ids=str)


def edges(nodes: int, self_loops: bool) -> Tensor:
    pairs = [(j, i) for i in range(nodes) for j in range(nodes) if self_loops or i != j]
    return torch.tensor(pairs, dtype=torch.long).reshape(-1, 2).t().contiguous()


def nodes(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, CHANNELS, generator=torch.Generator().manual_seed(seed))


def gradients(out: Tensor, x: Tensor, layer: nn.Module) -> list[Tensor | None]:
    weight = torch.linspace(-1.0, 1.0, out.numel()).view_as(out)
    wanted = [x, *layer.parameters()]
    return list(torch.autograd.grad((out * weight).sum(), wanted, allow_unused=True))


@cases
@pytest.mark.parametrize("self_loops", [True, False])
@pytest.mark.parametrize("count", [1, 2, 17])
def test_same_output_and_gradients(case: Case, self_loops: bool, count: int) -> None:
    layer = case.layer()
    twin = fuse(layer, self_loops=self_loops)
    x = nodes(count).requires_grad_()
    expected = layer(x, edges(count, self_loops))
    actual = twin(x)
    torch.testing.assert_close(actual, expected, **TOLERANCE)
    wanted, got = gradients(expected, x, layer), gradients(actual, x, twin)
    for reference, gradient in zip(wanted, got, strict=True):
        if reference is None or gradient is None:
            # Parameters without effect where a node has no neighbour.
            for one in (reference, gradient):
                assert one is None or not one.any()
        else:
            torch.testing.assert_close(gradient, reference, **TOLERANCE)


@cases
def test_scale_of_embeddings(case: Case) -> None:
    """Scores far from zero, where a naive softmax overflows."""
    layer = case.layer()
    x = 30.0 * nodes(9)
    expected = layer(x, edges(9, self_loops=True))
    # Relative to the values, which are in the hundreds.
    torch.testing.assert_close(fuse(layer)(x), expected, atol=1e-3, rtol=1e-5)


@cases
@pytest.mark.parametrize("self_loops", [True, False])
def test_batch_of_graphs(case: Case, self_loops: bool) -> None:
    layer = case.layer()
    twin = fuse(layer, self_loops=self_loops)
    x = nodes(3, 6)
    one_by_one = torch.stack([layer(graph, edges(6, self_loops)) for graph in x])
    torch.testing.assert_close(twin(x), one_by_one, **TOLERANCE)


@cases
@pytest.mark.parametrize("self_loops", [True, False])
def test_attention_weights(case: Case, self_loops: bool) -> None:
    layer = case.layer().eval()
    twin = fuse(layer, self_loops=self_loops)
    x = nodes(7)
    expected, (edge_index, alpha) = layer(x, edges(7, self_loops), return_attention_weights=True)
    dense = torch.zeros(3, 7, 7)
    dense[:, edge_index[1], edge_index[0]] = alpha.t()
    out, weights = twin(x, return_attention_weights=True)
    torch.testing.assert_close(weights, dense, **TOLERANCE)
    torch.testing.assert_close(out, expected, **TOLERANCE)
    batched, weights = twin(x.expand(2, 7, CHANNELS), return_attention_weights=True)
    assert weights.shape == (2, 3, 7, 7)
    torch.testing.assert_close(batched[1], expected, **TOLERANCE)


@plain
def test_dropout_has_the_same_distribution(case: Case) -> None:
    """Mean over many draws, per output number, and its spread."""
    layer = case.layer()
    layer.dropout = 0.4
    twin = fuse(layer.train())
    x = nodes(5)
    draws = 3000
    stacked = torch.stack([layer(x, edges(5, self_loops=True)) for _ in range(draws)])
    # 1,500 graphs per call, each with its own dropout.
    fused = torch.cat([twin(x.expand(draws // 2, 5, CHANNELS)) for _ in range(2)])
    error = stacked.std(0) * (2 / draws) ** 0.5
    # 75 numbers, five standard errors of the difference of two means.
    assert ((stacked.mean(0) - fused.mean(0)).abs() < 5 * error + 1e-5).all()
    # The standard error of a standard deviation is about 1 / sqrt(2 n) of it, 1.3 %.
    torch.testing.assert_close(fused.std(0), stacked.std(0), rtol=0.12, atol=1e-5)
    assert not torch.equal(fused[0], fused[1])
    twin.eval()
    assert torch.equal(twin(x), twin(x))


@plain
def test_parameters_are_shared_and_checkpoints_interchange(case: Case) -> None:
    layer = case.layer()
    twin = fuse(layer)
    assert [name for name, _ in twin.named_parameters()] == [n for n, _ in layer.named_parameters()]
    for one, other in zip(layer.parameters(), twin.parameters(), strict=True):
        assert one is other
    fresh = case.make(CHANNELS, 5, heads=3)
    fresh.load_state_dict(twin.state_dict())
    other_twin = fuse(case.make(CHANNELS, 5, heads=3))
    other_twin.load_state_dict(layer.state_dict())
    x = nodes(6)
    torch.testing.assert_close(fresh(x, edges(6, True)), twin(x), **TOLERANCE)
    torch.testing.assert_close(other_twin(x), twin(x))
    # Assigned parameters are new objects, which both must have.
    layer.load_state_dict({k: v + 1 for k, v in layer.state_dict().items()}, assign=True)
    for one, other in zip(layer.parameters(), twin.parameters(), strict=True):
        assert one is other


@plain
def test_given_edges_equal_the_layer(case: Case) -> None:
    layer = case.layer()
    twin = fuse(layer)
    x = nodes(5)
    ring = torch.tensor([[0, 1, 2, 3, 4], [1, 2, 3, 4, 0]])
    torch.testing.assert_close(twin(x, ring), layer(x, ring))


@plain
def test_copy_train_and_repr(case: Case) -> None:
    twin = fuse(case.layer())
    clone = copy.deepcopy(twin)
    assert torch.equal(clone(nodes(4)), twin(nodes(4)))
    with torch.no_grad():
        for parameter in clone.parameters():
            parameter.zero_()
    assert not torch.equal(clone(nodes(4)), twin(nodes(4)))
    assert repr(twin) == f"{type(twin).__name__}(12, 5, heads=3)"
    again = fuse(twin, self_loops=False)
    assert type(again) is type(twin)
    assert (again.self_loops, twin.self_loops) == (False, True)


@plain
def test_no_edge_tensors_are_made(case: Case) -> None:
    """The largest tensor that passes through an operator is far smaller than E x C."""
    largest = 0

    class Sizes(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            nonlocal largest
            result = func(*args, **(kwargs or {}))
            for tensor in torch.utils._pytree.tree_leaves(result):
                if isinstance(tensor, Tensor):
                    # Broadcast views have no memory of their own.
                    largest = max(largest, tensor.untyped_storage().nbytes() // 4)
            return result

    count, channels, heads = 128, 64, 2
    x = torch.randn(count, channels, requires_grad=True)
    twin = fuse(case.make(channels, channels // heads, heads=heads))
    with Sizes():
        twin(x).sum().backward()
    assert (
        0
        < largest
        <= max(heads * count * count, 2 * count * (channels + heads) + channels * channels)
    )


@plain
def test_trains_under_autocast(case: Case) -> None:
    layer = case.layer()
    x = nodes(8).requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = fuse(layer)(x)
    out.float().square().mean().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()
    expected = layer(x, edges(8, self_loops=True))
    # bfloat16 has 8 bits: about 0.4 % per product.
    assert F.mse_loss(out.float(), expected).sqrt() < 0.03 * expected.std()


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        (GCNConv(4, 4), "GCNConv has no dense twin"),
        (GATConv(4, 4, edge_dim=2), "edge_dim=2"),
        (TransformerConv(4, 4, aggr="max"), "aggr='max'"),
        (GATv2Conv(4, 4, flow="target_to_source"), "flow='target_to_source'"),
        (type("Own", (GATConv,), {})(4, 4), "Own has no dense twin"),
    ],
)
def test_unsupported_layers_are_refused(layer: nn.Module, words: str) -> None:
    assert words in str(why_not_fusable(layer))
    with pytest.raises(ConfigError, match=words.split()[0].replace("(", r"\(")):
        fuse(layer)


@plain
@pytest.mark.parametrize("shape", [(CHANNELS,), (3, CHANNELS + 1), (0, CHANNELS), (1, 1, 3, 12)])
def test_bad_shapes_are_named(case: Case, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="x must have"):
        fuse(case.layer())(torch.zeros(shape))


def test_bipartite_weights() -> None:
    """With a pair of widths PyG transforms senders and receivers by different matrices."""
    x = nodes(6)
    for make in (GATConv, GATv2Conv, TransformerConv):
        layer = make((CHANNELS, CHANNELS), 4, heads=2)
        # GATConv(pair) reads one tensor as both sides.
        expected = layer(x, edges(6, self_loops=True))
        torch.testing.assert_close(fuse(layer)(x), expected, **TOLERANCE)


def test_twin_can_be_made_directly() -> None:
    twin = CompleteGATConv(CHANNELS, 4, heads=2)
    layer = GATConv(CHANNELS, 4, heads=2)
    layer.load_state_dict(twin.state_dict())
    x = nodes(5)
    torch.testing.assert_close(twin(x), layer(x, edges(5, self_loops=True)), **TOLERANCE)
