"""Each method against dense matrices, and what a query's answer may depend on."""

import numpy as np
import pytest
import torch

from ibc_pyg.errors import ConfigError
from ibc_pyg.metrics import k_reciprocal_rerank
from ibc_pyg.refinement import (
    DEFAULTS,
    LISTS,
    VECTORS,
    parameters_of,
    refine_vectors,
    rerank,
)
from ibc_pyg.refinement.diffusion import diffuse
from ibc_pyg.refinement.gnn import neighbour_features
from ibc_pyg.refinement.parameters import POOLED

N, Q, D = 60, 9, 12
INDEPENDENT = [name for name in DEFAULTS if name not in POOLED]


def draw(count, seed):
    x = np.random.default_rng(seed).normal(size=(count, D)) + 0.5
    return x.astype(np.float32)


def unit(x):
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def cosines(x, g):
    return unit(x.astype(np.float64)) @ unit(g.astype(np.float64)).T


def top(matrix, k):
    """Keep the k largest entries of each row."""
    out = np.zeros_like(matrix)
    for row, best in enumerate(np.argsort(-matrix, axis=1)[:, :k]):
        out[row, best] = matrix[row, best]
    return out


def averaged(x, pool, k, power, exclude=False):
    c = cosines(x, pool)
    if exclude:
        np.fill_diagonal(c, -2)
    weights = top(c, k).clip(0) ** power * (top(c, k) > 0)
    return unit(unit(x) + weights @ unit(pool))


def test_query_expansion_against_dense_matrices():
    x, g = draw(Q, 1), draw(N, 2)
    p = parameters_of("aqe", k=4, power=3, rounds=2, share=0.25)
    found = refine_vectors("aqe", x, g, p)
    once = averaged(x, g, 4, 3)
    wanted = unit(0.25 * unit(x) + 0.75 * averaged(once, g, 4, 3))
    assert np.allclose(found.queries, wanted, atol=1e-5)
    assert np.allclose(found.gallery, unit(g), atol=1e-6)
    alone = refine_vectors("aqe", g, None, parameters_of("aqe", k=4, rounds=1, share=0))
    assert alone.same
    assert np.allclose(alone.queries, averaged(g, g, 4, 3, exclude=True), atol=1e-5)


def test_database_augmentation_against_dense_matrices():
    x, g = draw(Q, 1), draw(N, 2)
    found = refine_vectors("dba", x, g, parameters_of("dba", k=4, rounds=2, share=0.3))
    first = averaged(x, g, 4, 3), averaged(g, g, 4, 3, exclude=True)
    second = averaged(*first, 4, 3), averaged(first[1], first[1], 4, 3, exclude=True)
    mixed = cosines(x, g) * 0.3 + cosines(*second) * 0.7
    assert np.allclose(found.queries @ found.gallery.T, mixed, atol=1e-5)
    alone = refine_vectors("dba", g, None, parameters_of("dba", k=4, rounds=2, share=0))
    assert np.allclose(alone.queries, second[1], atol=1e-5)
    assert alone.gallery is None


def test_graph_convolution_against_dense_matrices():
    g = draw(N, 2)
    found = refine_vectors("gcr", g, None, parameters_of("gcr", k=5, power=2, rounds=1, share=0))
    c = cosines(g, g)
    np.fill_diagonal(c, -2)
    a = np.where(top(c + 3, 5) > 0, np.exp(-2 * (2 - 2 * c)), 0)
    a = (a + a.T) / 2 + np.eye(N)
    scale = np.diag(1 / np.sqrt(a.sum(1)))
    assert np.allclose(found.queries, unit(scale @ a @ scale @ unit(g)), atol=1e-5)


def test_diffusion_is_the_solution_of_its_linear_system():
    g = draw(N, 2)
    found = diffuse(torch.from_numpy(unit(g)), 6, 3, 200).toarray()
    c = cosines(g, g)
    np.fill_diagonal(c, -2)
    kept = np.where(top(c + 3, 6) > 0, c.clip(0) ** 3, 0)
    w = np.minimum(kept, kept.T)
    degree = w.sum(1)
    root = np.divide(1, np.sqrt(degree), where=degree > 0, out=np.zeros(N))
    s = root[:, None] * w * root
    assert np.allclose(found, 0.1 * np.linalg.inv(np.eye(N) - 0.9 * s), atol=1e-5)


def test_gnn_features_against_dense_matrices():
    g = draw(N, 2)
    found = neighbour_features(torch.from_numpy(unit(g)), 8, 2, 2).toarray()
    c = cosines(g, g)
    near = top(c + 3, 9) > 0  # itself and eight others
    send = np.where(top(c + 3, 2) > 0, c.clip(0) ** 2, 0) + np.eye(N)  # 7/26 of 8
    a = near.astype(float)
    for _ in range(2):
        a = send @ (a + a.T)
    assert np.allclose(found, a / np.linalg.norm(a, axis=1, keepdims=True), atol=1e-5)


def test_k_reciprocal_is_that_of_the_metrics():
    x, g = draw(Q, 1), draw(N, 2)
    found = rerank("k_reciprocal", x, g, 10, parameters_of("k_reciprocal"))
    assert torch.equal(found, k_reciprocal_rerank(x, g, 10).indices)


def answers(method, x, g, **given):
    p = parameters_of(method, **given)
    if method in LISTS:
        return rerank(method, x, g, 10, p)
    found = refine_vectors(method, x, g, p)
    return (found.queries @ found.gallery.T).topk(10).indices


@pytest.mark.parametrize("method", INDEPENDENT)
def test_other_queries_change_nothing(method):
    x, g = draw(Q, 1), draw(N, 2)
    together = answers(method, x, g)
    for row in range(Q):
        assert torch.equal(together[row : row + 1], answers(method, x[row : row + 1], g))


@pytest.mark.parametrize("method", DEFAULTS)
def test_the_order_of_the_gallery_changes_nothing(method):
    x, g = draw(Q, 1), draw(N, 2)
    order = np.random.default_rng(0).permutation(N)
    assert np.array_equal(order[answers(method, x, g[order])], answers(method, x, g))


@pytest.mark.parametrize("method", DEFAULTS)
def test_lengths_change_nothing(method):
    x, g = draw(Q, 1), draw(N, 2)
    assert torch.equal(answers(method, 4 * x, g * 2.0 ** np.arange(N)[:, None] / 2**30),
                       answers(method, x, g))  # fmt: skip


@pytest.mark.parametrize("method", VECTORS)
def test_a_whole_share_of_the_unrefined_is_plain_search(method):
    x, g = draw(Q, 1), draw(N, 2)
    plain = torch.from_numpy(cosines(x, g)).topk(10).indices
    assert torch.equal(answers(method, x, g, share=1), plain)
    assert torch.equal(answers(method, x, g, k=0, share=0), plain)


@pytest.mark.parametrize("method", DEFAULTS)
def test_few_images_and_zero_vectors(method):
    p = parameters_of(method)
    for g in (draw(2, 0), draw(3, 0), np.vstack([np.zeros((1, D), np.float32), draw(4, 0)])):
        for x in (None, draw(3, 1)):
            k = len(g) - (x is None)
            queries = g if x is None else x
            if method in LISTS:
                found = rerank(method, queries, None if x is None else g, k, p)
                assert found.shape == (len(queries), k)
                assert all(len(set(row)) == k for row in found.tolist())
            else:
                found = refine_vectors(method, queries, None if x is None else g, p)
                assert bool(found.queries.isfinite().all())


def test_wrong_input_is_named():
    with pytest.raises(ConfigError, match="'qe' is none of the methods aqe, "):
        parameters_of("qe")
    with pytest.raises(ConfigError, match="share of aqe is 2, expected 0 to 1"):
        parameters_of("aqe", share=2)
    with pytest.raises(ConfigError, match="rounds of dba is 0, expected 1 to 1,000"):
        parameters_of("dba", rounds=0)
    with pytest.raises(ConfigError, match="k_reciprocal has no parameter power; omit it"):
        parameters_of("k_reciprocal", power=2)
    with pytest.raises(ValueError, match="NaN"):
        refine_vectors("aqe", np.full((2, 2), np.nan), None, parameters_of("aqe"))
    with pytest.raises(ValueError, match="k is 3, but a query has 2"):
        rerank("gnn", draw(3, 0), None, 3, parameters_of("gnn"))
