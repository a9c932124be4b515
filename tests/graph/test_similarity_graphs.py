"""Threshold and nearest-neighbour graphs against numpy and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.neighbors import NearestNeighbors

from ibc_pyg.graph import knn, similarity_matrix, threshold


def make_x(N: int = 20, C: int = 8) -> torch.Tensor:
    return torch.randn(N, C, generator=torch.Generator().manual_seed(0)) + 0.5


@pytest.mark.parametrize("similarity", ["correlation", "cosine"])
def test_similarity_equals_numpy(similarity: str) -> None:
    x = make_x()
    if similarity == "correlation":
        want = np.corrcoef(x.numpy())
    else:
        unit = x.numpy() / np.linalg.norm(x.numpy(), axis=1, keepdims=True)
        want = unit @ unit.T
    got = similarity_matrix(x, similarity)
    torch.testing.assert_close(got, torch.from_numpy(want).float(), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("similarity", ["correlation", "cosine"])
@pytest.mark.parametrize("self_loops", [True, False])
@pytest.mark.parametrize("limit", [-1.0, 0.0, 0.4, 1.0])
def test_threshold_keeps_similar_pairs(limit: float, self_loops: bool, similarity: str) -> None:
    x = make_x()
    similarities = similarity_matrix(x, similarity).clamp(min=0)
    graph = threshold(x, limit, similarity=similarity, self_loops=self_loops)
    pairs = [
        (s, t)
        for t in range(20)
        for s in range(20)
        if similarities[t, s] > limit and (self_loops or s != t)
    ]
    assert list(map(tuple, graph.edge_index.T.tolist())) == pairs
    source, target = graph.edge_index
    assert torch.equal(graph.edge_weight, similarities[target, source])
    assert (graph.edge_weight >= 0).all()
    assert graph.num_nodes == 20
    assert graph.validate()


def test_threshold_weights_have_gradients_and_flat_embeddings_no_edges() -> None:
    x = make_x()
    x[3] = 2.0
    x.requires_grad_()
    graph = threshold(x)
    assert not (graph.edge_index == 3).any()
    graph.edge_weight.sum().backward()
    assert torch.isfinite(x.grad).all()
    assert x.grad.abs().sum() > 0


@pytest.mark.parametrize("k", [1, 4, 19])
def test_knn_equals_scikit_learn(k: int) -> None:
    x = make_x()
    graph = knn(x, k)
    want = NearestNeighbors(n_neighbors=k, metric="cosine").fit(x).kneighbors(return_distance=False)
    assert torch.equal(graph.edge_index[0].view(20, k), torch.from_numpy(want))
    assert torch.equal(graph.edge_index[1], torch.arange(20).repeat_interleave(k))
    assert graph.edge_weight is None
    assert graph.num_nodes == 20
    assert graph.validate()


def test_knn_self_loops_and_weights() -> None:
    x = make_x().requires_grad_()
    graph = knn(x, 3, similarity="correlation", self_loops=True, weighted=True)
    assert torch.equal(graph.edge_index[0].view(20, 4)[:, 0], torch.arange(20))
    source, target = graph.edge_index
    similarities = similarity_matrix(x, "correlation")
    torch.testing.assert_close(graph.edge_weight, similarities[target, source].clamp(min=0))
    graph.edge_weight.sum().backward()
    assert torch.isfinite(x.grad).all()


def test_copies_of_a_sample_are_neighbours_but_not_itself() -> None:
    x = torch.ones(4, 3)
    source, target = knn(x, 3).edge_index
    assert (source != target).all()


def test_bad_input_names_argument_and_values() -> None:
    x = make_x()
    calls = [
        (lambda: threshold(x, 1.5), r"threshold must be in \[-1, 1\], got 1.5"),
        (lambda: threshold(x, similarity="euclid"), "similarity .* got 'euclid'"),
        (lambda: threshold(x[:0]), r"x must have .* got \[0, 8\]"),
        (lambda: threshold(x[0]), r"x must have .* got \[8\]"),
        (lambda: knn(x, 20), "k must be from 1 to 19 for 20 nodes, got 20"),
        (lambda: knn(x, 0), "k must be from 1 to 19 for 20 nodes, got 0"),
    ]
    for call, message in calls:
        with pytest.raises(ValueError, match=message):
            call()
