"""Layers by name: every convolution of PyG trains a step or is refused with a reason."""

from __future__ import annotations

import copy
import inspect
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch_geometric.nn import conv as pyg

from ibc_pyg.errors import ConfigError
from ibc_pyg.nn.conv.factory import make_conv
from ibc_pyg.nn.conv.intra_batch_conv import IntraBatchConv
from ibc_pyg.nn.conv.specs import SPECS, UNSUPPORTED
from ibc_pyg.nn.mpn import MPN

CHANNELS = 24
PROMISED = {
    "GATConv",
    "GATv2Conv",
    "TransformerConv",
    "SuperGATConv",
    "GCNConv",
    "SAGEConv",
    "GINConv",
    "GraphConv",
    "ResGatedGraphConv",
    "GENConv",
    "GPSConv",
    "TAGConv",
    "ChebConv",
    "SGConv",
    "EdgeConv",
    "PNAConv",
}
# Float sums in another order; outputs reach some tens where messages are summed.
TOLERANCE = {"atol": 2e-5, "rtol": 1e-5}
# Layers that add self-loops; PDNConv weights added ones differently from given ones.
ADDS_SELF_LOOPS = [
    name
    for name in sorted(SPECS)
    if "add_self_loops" in inspect.signature(getattr(pyg, name).__init__).parameters
    and name != "PDNConv"
]
# ARMAConv of PyG has the weight of a second layer even with one layer.
UNUSED = {"ARMAConv": {"conv.weight"}}


def nodes(*shape: int, seed: int = 0) -> Tensor:
    x = torch.randn(*shape, CHANNELS, generator=torch.Generator().manual_seed(seed))
    return nn.functional.normalize(x, dim=-1)


def complete(count: int, self_loops: bool = True) -> Tensor:
    pairs = [(j, i) for i in range(count) for j in range(count) if self_loops or i != j]
    return torch.tensor(pairs, dtype=torch.long).reshape(-1, 2).t().contiguous()


def backward(conv: nn.Module, x: Tensor) -> float:
    """Return a loss after its backward pass, which must reach the input."""
    x = x.clone().requires_grad_()
    target = nodes(*x.shape[:-1], seed=9)
    loss = (conv(x) - target).square().mean()
    loss.backward()
    assert x.grad is not None
    assert x.grad.any()
    return loss.item()


def test_none_passes_no_messages() -> None:
    x = torch.randn(5, 8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(make_conv("none", 8, heads=4)(x), torch.zeros(5, 8))
    mpn = MPN(8, 2, conv="none").eval()
    together = mpn(x).features[0]
    apart = torch.cat([mpn(row[None]).features[0] for row in x])
    # No node depends on another: only the order of float32 sums differs.
    torch.testing.assert_close(together, apart, rtol=1e-5, atol=1e-6)
    with pytest.raises(ConfigError, match="takes no heads"):
        make_conv("none", 8, conv_args={"heads": 2})


def test_every_convolution_of_pyg_is_accepted_or_refused() -> None:
    """Fails for a layer that a new release of PyG adds."""
    listed = set(pyg.__all__)
    assert listed == (set(SPECS) | set(UNSUPPORTED)) & listed
    assert not set(SPECS) & set(UNSUPPORTED)
    assert set(SPECS) >= PROMISED


@pytest.mark.parametrize("self_loops", [True, False])
@pytest.mark.parametrize("name", pyg.__all__)
def test_each_trains_a_step_or_is_refused(name: str, self_loops: bool) -> None:
    torch.manual_seed(0)
    if name in UNSUPPORTED:
        with pytest.raises(ConfigError) as refusal:
            make_conv(name, CHANNELS, heads=4)
        assert name in str(refusal.value)
        assert UNSUPPORTED[name] in str(refusal.value)
        return
    conv = make_conv(name, CHANNELS, heads=4, dropout=0.1, self_loops=self_loops)
    x = nodes(9)
    assert conv(x).shape == x.shape
    loss = backward(conv, x)
    assert loss < float("inf")
    parameters = dict(conv.named_parameters())
    for key, parameter in parameters.items():
        if key not in UNUSED.get(name, set()):
            assert parameter.grad is not None, key
            assert parameter.grad.isfinite().all(), key
    if parameters:
        before = copy.deepcopy(conv.state_dict())
        torch.optim.SGD(conv.parameters(), lr=0.01).step()
        assert any(not torch.equal(before[key], value) for key, value in conv.state_dict().items())


@pytest.mark.parametrize("name", sorted(SPECS))
def test_batch_of_graphs_and_single_node(name: str) -> None:
    """Graphs in one call are independent; a single node works."""
    torch.manual_seed(0)
    conv = make_conv(name, CHANNELS, heads=2).eval()
    x = nodes(3, 5)
    together = conv(x)
    for graph, out in zip(x, together, strict=True):
        torch.testing.assert_close(conv(graph), out, **TOLERANCE)
    assert conv(x[0, :1]).isfinite().all()
    alone = make_conv(name, CHANNELS, heads=2, self_loops=False).eval()
    assert alone(x[0, :1]).isfinite().all()


@pytest.mark.parametrize("name", sorted(SPECS))
def test_given_edges_equal_no_edges(name: str) -> None:
    torch.manual_seed(0)
    conv = make_conv(name, CHANNELS, heads=2).eval()
    x = nodes(6)
    torch.testing.assert_close(conv(x), conv(x, complete(6)), **TOLERANCE)


@pytest.mark.parametrize("name", ADDS_SELF_LOOPS)
def test_own_self_loops_are_not_doubled(name: str) -> None:
    """A layer that adds self-loops gives the same on graphs with and without them."""
    torch.manual_seed(0)
    conv = make_conv(name, CHANNELS, heads=2).eval()
    x = nodes(6)
    with_loops, without = conv(x, complete(6)), conv(x, complete(6, self_loops=False))
    torch.testing.assert_close(with_loops, without, **TOLERANCE)


@pytest.mark.parametrize("name", ["GATConv", "GATv2Conv", "TransformerConv"])
@pytest.mark.parametrize("self_loops", [True, False])
def test_fuse_changes_speed_only(name: str, self_loops: bool) -> None:
    torch.manual_seed(0)
    fused = make_conv(name, CHANNELS, heads=3, self_loops=self_loops)
    plain = make_conv(name, CHANNELS, heads=3, self_loops=self_loops, fuse=False)
    assert type(fused.conv) is not type(plain.conv)
    plain.load_state_dict(fused.state_dict())
    for x in (nodes(7), nodes(2, 5)):
        torch.testing.assert_close(fused(x), plain(x), **TOLERANCE)
        for one, other in zip(
            fused(x, return_attention_weights=True),
            plain(x, return_attention_weights=True),
            strict=True,
        ):
            torch.testing.assert_close(one, other, **TOLERANCE)


@pytest.mark.parametrize("fuse", [True, False])
@pytest.mark.parametrize("name", ["GATConv", "GATv2Conv", "TransformerConv", "FAConv"])
def test_attention_weights(name: str, fuse: bool) -> None:
    conv = make_conv(name, CHANNELS, heads=2, fuse=fuse).eval()
    assert conv.has_attention is True
    heads = 1 if name == "FAConv" else 2
    out, alpha = conv(nodes(5), return_attention_weights=True)
    assert out.shape == (5, CHANNELS)
    assert alpha.shape == (heads, 5, 5)
    if name != "FAConv":  # its weights are signed and need not sum to one
        torch.testing.assert_close(alpha.sum(-1), torch.ones(2, 5))
    _, alpha = conv(nodes(3, 5), return_attention_weights=True)
    assert alpha.shape == (3, heads, 5, 5)
    _, (edges, alpha) = conv(nodes(5), complete(5), return_attention_weights=True)
    assert alpha.shape[0] == edges.shape[1]


def test_layer_without_attention_weights() -> None:
    conv = make_conv("GCNConv", CHANNELS)
    assert conv.has_attention is False
    with pytest.raises(ConfigError, match="GCNConv has no attention weights"):
        conv(nodes(3), return_attention_weights=True)


@pytest.mark.parametrize(
    ("name", "args"), [("GCNConv", {}), ("GraphConv", {}), ("TransformerConv", {"edge_dim": 1})]
)
def test_edge_weights(name: str, args: dict[str, Any]) -> None:
    """Dense weights `[N, N]`, receiver first, equal weights of edges, and have an effect."""
    torch.manual_seed(0)
    conv = make_conv(name, CHANNELS, conv_args=args)
    x = nodes(4)
    weight = torch.rand(4, 4, generator=torch.Generator().manual_seed(1))
    edges = complete(4)
    expected = conv(x, edges, weight[edges[1], edges[0]])
    torch.testing.assert_close(conv(x, edge_weight=weight), expected, **TOLERANCE)
    assert not torch.allclose(conv(x), expected)
    both = conv(torch.stack([x, x]), edge_weight=torch.stack([weight, weight.t()]))
    torch.testing.assert_close(both[0], expected, **TOLERANCE)
    assert not torch.allclose(both[0], both[1])


def test_edge_weights_for_a_layer_without() -> None:
    conv = make_conv("GATConv", CHANNELS)
    with pytest.raises(ConfigError, match="GATConv takes no edge weights"):
        conv(nodes(3), edge_weight=torch.ones(3, 3))


@pytest.mark.parametrize("heads", [1, 2, 5, 8])
@pytest.mark.parametrize("args", [{}, {"concat": False}, {"out_channels": 7}])
@pytest.mark.parametrize("name", ["GATConv", "GATv2Conv", "TransformerConv", "SuperGATConv"])
def test_width_is_restored(name: str, heads: int, args: dict[str, Any]) -> None:
    conv = make_conv(name, CHANNELS, heads=heads, conv_args=args)
    assert conv(nodes(4)).shape == (4, CHANNELS)
    assert conv.conv.heads == heads
    if not args and CHANNELS % heads == 0:
        assert isinstance(conv.lin_out, nn.Identity)


def test_user_arguments_override() -> None:
    conv = make_conv("GATConv", CHANNELS, heads=2, dropout=0.3, conv_args={"negative_slope": 0.5})
    assert (conv.conv.negative_slope, conv.conv.dropout, conv.conv.heads) == (0.5, 0.3, 2)
    assert make_conv("GATConv", CHANNELS, conv_args={"heads": 3}).conv.heads == 3
    assert make_conv("PNAConv", CHANNELS, conv_args={"deg": [0, 0, 0, 4]})(nodes(4)).shape[1] == 24
    gps = make_conv("GPSConv", CHANNELS, heads=2, conv_args={"conv": "GATv2Conv"})
    assert type(gps.conv.conv).__name__ == "GATv2Conv"
    assert gps(nodes(4)).shape == (4, CHANNELS)


@pytest.mark.parametrize(
    ("name", "kwargs", "words"),
    [
        ("GATCon", {}, "did you mean GATConv"),
        ("transformerconv", {}, "did you mean TransformerConv"),
        ("Intrabatch", {}, "did you mean IntraBatchConv"),
        ("quux", {}, "unknown layer 'quux'"),
        ("TopKPooling", {}, "is not a node-level convolution"),
        ("DenseGATConv", {}, "is not a node-level convolution"),
        ("ECConv", {}, "NNConv cannot work"),
        ("torch_geometric.nn.RGCNConv", {}, "relation type"),
        ("GATConv", {"conv_args": {"negative_slop": 1}}, "did you mean negative_slope"),
        ("GATConv", {"conv_args": {"in_channels": 3}}, "in_channels is set by the model"),
        ("GCNConv", {"conv_args": {"cached": True}}, "cached=True"),
        ("GCNConv", {"conv_args": {"heads": 2}}, "has no argument 'heads'"),
        ("GATConv", {"conv_args": {"edge_dim": 3}}, "3 features per edge"),
        ("EGConv", {"heads": 5}, "EGConv cannot be made"),
        ("GPSConv", {"heads": 5}, "GPSConv cannot be made"),
        ("GPSConv", {"conv_args": {"conv": "GCN2Conv"}}, "layer inside a layer"),
        ("ChebConv", {"conv_args": {"K": 0}}, "ChebConv cannot be made"),
        ("IntraBatchConv", {"heads": 5}, "heads must divide out_channels"),
        ("IntraBatchConv", {"conv_args": {"nul_node": True}}, "did you mean null_node"),
        ("no.such.module.Layer", {}, "importing no.such.module failed"),
        ("torch.nn.Missing", {}, "there is no 'Missing' in torch.nn"),
        ("torch.nn.functional.relu", {}, "derived from torch.nn.Module"),
        ("torch.nn.Linear", {}, "cannot be (made|called)"),
        ("nowhere.py:Layer", {}, "there is no file nowhere.py"),
    ],
)
def test_messages_name_the_mistake(name: str, kwargs: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        make_conv(name, CHANNELS, **kwargs)


@pytest.mark.parametrize("kwargs", [{"channels": 0}, {"heads": 0}, {"dropout": 1.0}])
def test_numbers_out_of_range(kwargs: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(kwargs))):
        make_conv("GATConv", **{"channels": CHANNELS, **kwargs})


@pytest.mark.parametrize("name", ["GATConv", "GCNConv"])
def test_bad_inputs_are_named(name: str) -> None:
    conv = make_conv(name, CHANNELS)
    with pytest.raises(ValueError, match="x must be finite"):
        conv(torch.full((3, CHANNELS), float("nan")))
    with pytest.raises(ValueError, match="at least 1 node"):
        conv(torch.zeros(0, CHANNELS))
    with pytest.raises(ValueError, match="edge_index must lie in 0"):
        conv(nodes(3), torch.tensor([[0], [3]]))
    with pytest.raises(ValueError, match="24 channels"):
        conv(torch.zeros(3, 5))


def test_dotted_path_of_a_pyg_class_is_that_layer() -> None:
    conv = make_conv("torch_geometric.nn.GATConv", CHANNELS, heads=2)
    assert type(conv.conv).__name__ == "CompleteGATConv"


def test_intra_batch_conv_is_not_wrapped() -> None:
    conv = make_conv("IntraBatchConv", CHANNELS, heads=4, null_node=False, self_loops=False)
    assert type(conv) is IntraBatchConv
    assert (conv.heads, conv.null_node, conv.self_loops) == (4, False, False)


def test_edges_are_cached_by_size() -> None:
    conv = make_conv("GCNConv", CHANNELS)
    device = torch.device("cpu")
    conv(nodes(5))
    kept = conv.complete_edges(1, 5, device)
    conv(nodes(5))
    assert conv.complete_edges(1, 5, device) is kept
    for count in range(6, 12):
        conv(nodes(count))
    assert conv.complete_edges(1, 5, device) is not kept
    assert "complete_edges" not in "".join(conv.state_dict())
