"""IntraBatchConv against a numpy twin, against itself on edges, and against PyTorch's attention."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch_geometric.nn import MessagePassing

from ibc_pyg.graph import complete
from ibc_pyg.nn.conv.intra_batch_conv import IntraBatchConv

# float32 sums of a few dozen terms in another order.
TOL = {"atol": 1e-5, "rtol": 1e-5}


def make_x(N: int, C: int, seed: int, scale: float = 1.0) -> Tensor:
    return scale * torch.randn(N, C, generator=torch.Generator().manual_seed(seed))


def numpy_twin(
    conv: IntraBatchConv, x: Tensor, edge_index: Tensor, edge_weight: Tensor | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Loop over receivers, heads and edges in float64; softmax-plus-one spelled out."""

    def linear(layer: torch.nn.Linear, rows: np.ndarray) -> np.ndarray:
        out = rows @ layer.weight.detach().double().numpy().T
        return out if layer.bias is None else out + layer.bias.detach().double().numpy()

    X = x.detach().double().numpy()
    q, k, v = (linear(layer, X) for layer in (conv.lin_query, conv.lin_key, conv.lin_value))
    C = conv.out_channels // conv.heads
    source, target = edge_index.numpy()
    alpha = np.zeros((len(source), conv.heads))
    out = np.zeros((len(X), conv.out_channels))
    for i in range(len(X)):
        edges = np.flatnonzero(target == i)
        for h in range(conv.heads):
            cut = slice(h * C, (h + 1) * C)
            e = np.array([math.exp(q[i, cut] @ k[source[f], cut] / math.sqrt(C)) for f in edges])
            a = e / (e.sum() + 1.0) if conv.null_node else e / e.sum()
            alpha[edges, h] = a
            w = a if edge_weight is None else a * edge_weight.double().numpy()[edges]
            out[i, cut] = w @ v[source[edges], cut] if len(edges) else 0.0
    return linear(conv.lin_out, out), alpha


def sparse_alpha_to_dense(edge_index: Tensor, alpha: Tensor, N: int) -> Tensor:
    dense = alpha.new_zeros(alpha.size(1), N, N)
    dense[:, edge_index[1], edge_index[0]] = alpha.T
    return dense


def test_is_a_message_passing_layer() -> None:
    conv = IntraBatchConv(16, 32, heads=4)
    assert isinstance(conv, MessagePassing)
    assert str(conv) == "IntraBatchConv(16, 32, heads=4)"
    assert {name: tuple(p.shape) for name, p in conv.named_parameters()} == {
        "lin_query.weight": (32, 16),
        "lin_query.bias": (32,),
        "lin_key.weight": (32, 16),
        "lin_key.bias": (32,),
        "lin_value.weight": (32, 16),
        "lin_value.bias": (32,),
        "lin_out.weight": (32, 32),
        "lin_out.bias": (32,),
    }
    assert len(list(IntraBatchConv(16, 32, bias=False).parameters())) == 4


@pytest.mark.parametrize("null_node", [True, False])
@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize(("N", "heads", "seed"), [(1, 1, 0), (2, 2, 1), (9, 3, 2), (23, 2, 3)])
def test_sparse_is_the_numpy_twin(
    N: int, heads: int, seed: int, weighted: bool, null_node: bool
) -> None:
    torch.manual_seed(seed)
    conv = IntraBatchConv(6, 12, heads, null_node=null_node)
    torch.nn.init.normal_(conv.lin_key.bias)
    x = make_x(N, 6, seed, scale=2.0)
    kept = torch.rand(N, N) < 0.6
    edge_index = kept.nonzero().T.contiguous()
    edge_weight = torch.rand(edge_index.size(1)) if weighted else None
    out, (returned, alpha) = conv(x, edge_index, edge_weight, return_attention_weights=True)
    want, want_alpha = numpy_twin(conv, x, edge_index, edge_weight)
    assert returned is edge_index
    torch.testing.assert_close(out, torch.from_numpy(want).float(), **TOL)
    torch.testing.assert_close(alpha, torch.from_numpy(want_alpha).float(), **TOL)


def test_large_scores_stay_finite_and_exact() -> None:
    torch.manual_seed(0)
    conv = IntraBatchConv(4, 4, 1).double()
    x = make_x(5, 4, 0, scale=12.0).double()
    graph = complete(x)
    want, _ = numpy_twin(conv, x, graph.edge_index)
    torch.testing.assert_close(conv(x), torch.from_numpy(want))
    torch.testing.assert_close(conv(x, graph.edge_index), torch.from_numpy(want))
    assert torch.isfinite(conv.float()(1e3 * x.float(), graph.edge_index)).all()


@settings(max_examples=60, deadline=None)
@given(
    N=st.integers(1, 40),
    heads=st.sampled_from([1, 2, 3, 4]),
    null_node=st.booleans(),
    self_loops=st.booleans(),
    weighted=st.booleans(),
    seed=st.integers(0, 2**16),
)
def test_dense_is_sparse(
    N: int, heads: int, null_node: bool, self_loops: bool, weighted: bool, seed: int
) -> None:
    torch.manual_seed(seed)
    conv = IntraBatchConv(8, 12, heads, null_node=null_node, self_loops=self_loops)
    twin = copy.deepcopy(conv)
    x = make_x(N, 8, seed)
    edge_index = complete(N, self_loops=self_loops).edge_index
    dense_weight = torch.rand(N, N) if weighted else None
    edge_weight = dense_weight[edge_index[1], edge_index[0]] if dense_weight is not None else None
    x_dense, x_sparse = x.clone().requires_grad_(), x.clone().requires_grad_()
    dense = conv(x_dense, edge_weight=dense_weight)
    sparse = twin(x_sparse, edge_index, edge_weight)
    torch.testing.assert_close(dense, sparse, **TOL)

    gradient = torch.randn(N, 12) / N
    dense.backward(gradient)
    sparse.backward(gradient)
    torch.testing.assert_close(x_dense.grad, x_sparse.grad, **TOL)
    for (name, p), q in zip(conv.named_parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad, **TOL, msg=lambda m, name=name: f"{name}: {m}")

    again, alpha = conv(x, edge_weight=dense_weight, return_attention_weights=True)
    _, (_, edge_alpha) = twin(x, edge_index, edge_weight, return_attention_weights=True)
    torch.testing.assert_close(again, dense, **TOL)
    torch.testing.assert_close(alpha, sparse_alpha_to_dense(edge_index, edge_alpha, N), **TOL)


@pytest.mark.parametrize("self_loops", [True, False])
@pytest.mark.parametrize("null_node", [True, False])
def test_batched_graphs_are_the_graphs_one_by_one(null_node: bool, self_loops: bool) -> None:
    torch.manual_seed(0)
    conv = IntraBatchConv(8, 8, 2, null_node=null_node, self_loops=self_loops)
    x = torch.randn(3, 7, 8)
    weight = torch.rand(3, 7, 7)
    torch.testing.assert_close(conv(x), torch.stack([conv(g) for g in x]), **TOL)
    torch.testing.assert_close(
        conv(x, edge_weight=weight),
        torch.stack([conv(g, edge_weight=w) for g, w in zip(x, weight, strict=True)]),
        **TOL,
    )
    shared_weight = conv(x, edge_weight=weight[0])
    torch.testing.assert_close(shared_weight[2], conv(x[2], edge_weight=weight[0]), **TOL)
    out, alpha = conv(x, return_attention_weights=True)
    assert alpha.shape == (3, 2, 7, 7)
    torch.testing.assert_close(alpha[1], conv(x[1], return_attention_weights=True)[1], **TOL)
    torch.testing.assert_close(out, conv(x), **TOL)


@pytest.mark.parametrize("null_node", [True, False])
@pytest.mark.parametrize("heads", [1, 2, 8])
def test_agrees_with_torch_multihead_attention(heads: int, null_node: bool) -> None:
    torch.manual_seed(heads)
    conv = IntraBatchConv(32, 32, heads, null_node=null_node)
    theirs = torch.nn.MultiheadAttention(32, heads, add_zero_attn=null_node, batch_first=True)
    with torch.no_grad():
        parts = (conv.lin_query, conv.lin_key, conv.lin_value)
        theirs.in_proj_weight.copy_(torch.cat([p.weight for p in parts]))
        theirs.in_proj_bias.copy_(torch.cat([p.bias.normal_() for p in parts]))
        theirs.out_proj.weight.copy_(conv.lin_out.weight)
        theirs.out_proj.bias.copy_(conv.lin_out.bias.normal_())
    x = make_x(21, 32, heads)
    want, want_alpha = theirs(x, x, x, average_attn_weights=False)
    out, alpha = conv(x, return_attention_weights=True)
    torch.testing.assert_close(conv(x), want, **TOL)
    torch.testing.assert_close(out, want, **TOL)
    torch.testing.assert_close(alpha, want_alpha[..., :21], **TOL)
    assert want_alpha.size(-1) == 21 + null_node


def test_null_node_takes_its_share() -> None:
    torch.manual_seed(0)
    x = make_x(54, 16, 0)
    _, alpha = IntraBatchConv(16, 16, 2)(x, return_attention_weights=True)
    assert (alpha.sum(-1) < 1.0).all()
    # All scores zero: each of 54 nodes and the null node gets the same.
    conv = IntraBatchConv(16, 16, 2)
    torch.nn.init.zeros_(conv.lin_query.weight)
    _, alpha = conv(x, return_attention_weights=True)
    torch.testing.assert_close(alpha, torch.full_like(alpha, 1 / 55))


@pytest.mark.parametrize("self_loops", [True, False])
def test_permuting_the_nodes_permutes_the_result(self_loops: bool) -> None:
    torch.manual_seed(0)
    conv = IntraBatchConv(8, 8, 2, self_loops=self_loops)
    x = make_x(30, 8, 0)
    order = torch.randperm(30)
    torch.testing.assert_close(conv(x[order]), conv(x)[order], **TOL)


def test_nodes_without_edges_get_the_output_bias() -> None:
    torch.manual_seed(0)
    for null_node in (True, False):
        conv = IntraBatchConv(4, 4, null_node=null_node, self_loops=False)
        torch.nn.init.normal_(conv.lin_out.bias)
        x = make_x(1, 4, 0).requires_grad_()
        want = conv.lin_out.bias.unsqueeze(0)
        no_edges = torch.empty(2, 0, dtype=torch.long)
        torch.testing.assert_close(conv(x), want)
        torch.testing.assert_close(conv(x, no_edges), want)
        conv(x).sum().backward()
        assert x.grad is not None
        assert torch.equal(x.grad, torch.zeros_like(x))


@pytest.mark.parametrize("null_node", [True, False])
@pytest.mark.parametrize("weighted", [True, False])
def test_dropout_has_one_distribution_on_both_paths(null_node: bool, weighted: bool) -> None:
    # 4000 draws of every output: means agree to about 5 standard errors of their difference,
    # variances to 5 of theirs (relative error about sqrt(2 / n), more for heavy tails).
    torch.manual_seed(0)
    N, draws = 5, 4000
    conv = IntraBatchConv(4, 4, 2, null_node=null_node, dropout=0.3).train()
    x = make_x(N, 4, 1, scale=2.0)
    graph = complete(N)
    weight = torch.rand(N, N) if weighted else None
    sparse_x = x.repeat(draws, 1)
    shift = N * torch.arange(draws).repeat_interleave(N * N)
    edge_index = graph.edge_index.repeat(1, draws) + shift
    edge_weight = None if weight is None else weight.flatten().repeat(draws)
    with torch.no_grad():
        dense = conv(x.expand(draws, N, 4), edge_weight=weight)
        sparse = conv(sparse_x, edge_index, edge_weight).view(draws, N, 4)
        still = conv.eval()(x, edge_weight=weight)
    spread = (dense.var(0) + sparse.var(0)).sqrt() / math.sqrt(draws)
    assert ((dense.mean(0) - sparse.mean(0)).abs() < 5 * spread).all()
    assert ((dense.mean(0) - still).abs() < 5 * dense.std(0) / math.sqrt(draws)).all()
    torch.testing.assert_close(dense.var(0), sparse.var(0), rtol=0.15, atol=1e-6)


def test_dropout_is_off_in_evaluation_and_not_in_returned_weights() -> None:
    torch.manual_seed(0)
    conv = IntraBatchConv(8, 8, 2, dropout=0.5)
    x = make_x(12, 8, 0)
    graph = complete(x)
    _, kept = conv(x, return_attention_weights=True)
    _, (_, kept_sparse) = conv(x, graph.edge_index, return_attention_weights=True)
    assert not torch.equal(conv(x), conv(x))
    conv.eval()
    assert torch.equal(conv(x), conv(x))
    torch.testing.assert_close(kept, conv(x, return_attention_weights=True)[1])
    torch.testing.assert_close(kept_sparse.view(12, 12, 2).permute(2, 0, 1), kept, **TOL)


@pytest.mark.parametrize("null_node", [True, False])
@pytest.mark.parametrize("self_loops", [True, False])
def test_gradcheck(null_node: bool, self_loops: bool) -> None:
    torch.manual_seed(0)
    conv = IntraBatchConv(4, 4, 2, null_node=null_node, self_loops=self_loops).double()
    x = make_x(5, 4, 0).double().requires_grad_()
    weight = torch.rand(5, 5, dtype=torch.double).requires_grad_()
    edge_index = complete(5, self_loops=self_loops).edge_index
    assert torch.autograd.gradcheck(conv, (x,))
    assert torch.autograd.gradcheck(lambda x, w: conv(x, edge_weight=w), (x, weight))
    assert torch.autograd.gradcheck(
        lambda x, w: conv(x, edge_index, w[edge_index[1], edge_index[0]]), (x, weight)
    )


def test_autocast_bfloat16() -> None:
    torch.manual_seed(0)
    conv = IntraBatchConv(32, 32, 2, self_loops=False)
    x = make_x(40, 32, 0).requires_grad_()
    graph = complete(40, self_loops=False)
    want = conv(x)
    for args in ((x,), (x, graph.edge_index), (x, None, torch.ones(40, 40))):
        with torch.autocast("cpu", torch.bfloat16):
            out = conv(*args)
        out.float().sum().backward()
        # bfloat16 keeps 8 bits: a few times 2^-8 of values of order 1.
        torch.testing.assert_close(out.float(), want, atol=3e-2, rtol=3e-2)
    assert torch.isfinite(x.grad).all()


@pytest.mark.slow
def test_compiles_without_a_break() -> None:
    torch.manual_seed(0)
    conv = IntraBatchConv(16, 16, 2)
    x = make_x(10, 16, 0)
    compiled = torch.compile(conv, fullgraph=True)
    torch.testing.assert_close(compiled(x), conv(x), **TOL)


def test_bad_input_names_argument_and_values() -> None:
    conv = IntraBatchConv(8, 8, 2)
    x = make_x(5, 8, 0)
    edges = complete(5).edge_index
    bad = x.clone()
    bad[3, 2] = torch.nan
    outside = edges.clone()
    outside[0, 4] = 5
    calls = [
        (lambda: IntraBatchConv(8, 10, 4), "heads=4 and out_channels=10"),
        (lambda: IntraBatchConv(8, 8, 0), "heads must be at least 1, got 0"),
        (lambda: IntraBatchConv(0, 8), "in_channels must be at least 1, got 0"),
        (lambda: IntraBatchConv(8, 8, dropout=1.0), "dropout .* got 1.0"),
        (lambda: conv(x[:, :7]), "x must have 8 channels, got 7"),
        (lambda: conv(x[:0]), r"x must have at least 1 node, got shape \[0, 8\]"),
        (lambda: conv(x.view(1, 1, 5, 8)), "x must have shape"),
        (lambda: conv(x.long()), "x must be floating point, got torch.int64"),
        (lambda: conv(bad), r"x must be finite, got 1 of 40 .* nan at \[3, 2\]"),
        (lambda: conv(x / 0), "x must be finite, got 40 of 40"),
        (lambda: conv(x, outside), r"edge_index must lie in 0..4 for 5 nodes, got 5"),
        (lambda: conv(x, edges - 1), r"edge_index must lie in 0..4 for 5 nodes, got -1"),
        (lambda: conv(x, edges.T), r"edge_index must have shape \[2, E\], got \[25, 2\]"),
        (lambda: conv(x, edges.int()), "edge_index must be int64, got torch.int32"),
        (lambda: conv(x, edges.to_sparse()), "edge_index must be a dense tensor"),
        (lambda: conv(x.unsqueeze(0), edges), r"x must have shape \[N, C\] when edge_index"),
        (lambda: conv(x, edges, torch.ones(24)), r"edge_weight .* \[24\] for 25 edges"),
        (lambda: conv(x, edges, torch.full((25,), torch.inf)), "edge_weight must be finite"),
        (lambda: conv(x, None, torch.ones(25)), r"edge_weight .* \[N, N\].* got \[25\]"),
    ]
    for call, message in calls:
        with pytest.raises(ValueError, match=message):
            call()


def test_huge_but_finite_embeddings_are_not_refused() -> None:
    conv = IntraBatchConv(4, 4)
    x = torch.full((3, 4), 3e38)
    conv(x, torch.empty(2, 0, dtype=torch.long))


def test_finite_check_can_be_disabled() -> None:
    conv = IntraBatchConv(4, 4, check_finite=False)
    assert torch.isnan(conv(torch.full((3, 4), torch.nan))).all()
