"""Descriptor refinement: label-free neighbourhoods, and batched message passing."""

from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ibc_pyg.config import EvaluateConfig
from ibc_pyg.config.evaluate import MPN_REFINERS
from ibc_pyg.errors import RunError
from ibc_pyg.evaluation.refined import refine_and_score
from ibc_pyg.evaluation.scores import score
from ibc_pyg.graph import k_reciprocal_groups, knn, threshold
from ibc_pyg.inference.extract import Descriptors, EvalDescriptors
from ibc_pyg.inference.refined.neighbour_groups import neighbours_for
from ibc_pyg.inference.refined.refine import refine, refined_vectors
from ibc_pyg.metrics.clustering import KMeansSettings, kmeans
from ibc_pyg.nn.model import IntraBatchModel, complete_batch
from ibc_pyg.nn.mpn import MPN

D = 16
METHODS = tuple(MPN_REFINERS)


def make_model(*, graph=complete_batch, **arguments):
    torch.manual_seed(0)
    mpn = MPN(D, **{"steps": 2, "heads": 4} | arguments)
    return IntraBatchModel(nn.Flatten(), mpn, [], nn.Linear(D, 3), graph)


def unit(n, seed):
    """Unit-norm vectors of six loose classes."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(6, D, generator=torch.Generator().manual_seed(99))
    labels = torch.arange(n) % 6
    return F.normalize(centres[labels] + 0.7 * torch.randn(n, D, generator=generator), dim=1)


def make_part(vectors, first=0):
    rows = np.arange(first, first + len(vectors))
    return Descriptors(rows, vectors, torch.arange(len(vectors)) % 6)


def same_set(n=60):
    return EvalDescriptors(make_part(unit(n, 0)), None)


def two_sets(queries=40, gallery=60):
    return EvalDescriptors(make_part(unit(queries, 1)), make_part(unit(gallery, 2), queries))


def one_by_one(model, vectors, others, pool):
    """Refine in each neighbourhood separately."""
    model.eval()
    rows = []
    with torch.no_grad():
        for x, near in zip(vectors, others, strict=True):
            graph = model.graph(torch.cat([x[None], pool[near]]))  # [size, D]
            nodes = model.mpn(graph.x, graph.edge_index, graph.edge_weight).features[-1]
            rows.append(nodes[0] / nodes[0].norm())
    return torch.stack(rows)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("size", [2, 7])
def test_batched_refinement_equals_one_by_one(method, size):
    model, descriptors = make_model(), same_set()
    refined = refine(model, descriptors, method, size)
    x = descriptors.queries.vectors
    expected = one_by_one(model, x, neighbours_for(x, MPN_REFINERS[method], size), x)
    assert refined.gallery is None
    # float32: a batched product against many small ones.
    torch.testing.assert_close(refined.queries.vectors, expected, atol=1e-5, rtol=0)
    assert not torch.allclose(refined.queries.vectors, x, atol=0.1)


@pytest.mark.parametrize("method", METHODS)
def test_queries_are_refined_with_the_gallery_only(method):
    model, descriptors = make_model(), two_sets()
    q, g = descriptors.queries.vectors, descriptors.gallery.vectors
    refined = refine(model, descriptors, method, 5)
    expected = one_by_one(model, q, neighbours_for(q, MPN_REFINERS[method], 5, gallery=g), g)
    torch.testing.assert_close(refined.queries.vectors, expected, atol=1e-5, rtol=0)
    alone = refine(model, EvalDescriptors(descriptors.gallery, None), method, 5)
    assert torch.equal(refined.gallery.vectors, alone.queries.vectors)
    # Other queries do not matter.
    few = EvalDescriptors(make_part(q[3:9]), descriptors.gallery)
    torch.testing.assert_close(
        refine(model, few, method, 5).queries.vectors,
        refined.queries.vectors[3:9],
        atol=1e-5,
        rtol=0,
    )


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("sets", [same_set, two_sets])
def test_labels_are_not_used(method, sets):
    model, descriptors = make_model(), sets()
    refined = refine(model, descriptors, method, 7)
    for part in (descriptors.queries, descriptors.gallery):
        if part is not None:
            part.labels.copy_(part.labels[torch.randperm(len(part.labels))])
    again = refine(model, descriptors, method, 7)
    assert torch.equal(again.queries.vectors, refined.queries.vectors)
    if refined.gallery is not None:
        assert torch.equal(again.gallery.vectors, refined.gallery.vectors)


@pytest.mark.parametrize(("method", "size"), [("none", 7), *((method, 1) for method in METHODS)])
def test_a_neighbourhood_of_one_changes_nothing(method, size):
    for descriptors in (same_set(), two_sets()):
        refined = refine(make_model(), descriptors, method, size)
        assert torch.equal(refined.queries.vectors, descriptors.queries.vectors)
        assert refined.candidates.vectors is descriptors.candidates.vectors


@pytest.mark.parametrize("budget", [1, 10**5])
def test_chunks_change_nothing(budget):
    model, x = make_model(), unit(60, 0)
    others = neighbours_for(x, "knn", 7)
    whole = refined_vectors(model, x, others)
    parts = refined_vectors(model, x, others, memory_budget=budget)
    torch.testing.assert_close(parts, whole, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("graph", "conv"),
    [
        (partial(knn, k=3), "IntraBatchConv"),
        (partial(threshold, threshold=0.2), "IntraBatchConv"),
        (partial(threshold, threshold=0.2), "GraphConv"),
        (complete_batch, "GATConv"),
    ],
)
def test_the_graph_of_the_model_is_used(graph, conv):
    model, x = make_model(graph=graph, conv=conv), unit(40, 0)
    others = neighbours_for(x, "knn", 7)
    found = refined_vectors(model, x, others, memory_budget=10**5)
    torch.testing.assert_close(found, one_by_one(model, x, others, x), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("arguments", "width"),
    [
        ({"every_step": True}, D),
        ({"concatenate": True}, 2 * D),
        ({"reduction": 2}, D // 2),
        ({"steps": 1}, D),
        ({"steps": 4}, D),
        ({"steps": 1, "null_node": False, "self_loops": False}, D),
        ({"steps": 3, "self_loops": False}, D),
        ({"residual_conv": False, "norm_mlp": False, "first_linear": False}, D),
        ({"residual_mlp": False, "norm_conv": False, "mlp": False}, D),
        ({"conv": "GATConv", "concatenate": True}, 2 * D),
        ({"conv": "TransformerConv"}, D),
    ],
)
def test_other_outputs_of_the_mpn(arguments, width):
    model, descriptors = make_model(**arguments), same_set()
    model.train()
    refined = refine(model, descriptors, "mpn", 4).queries.vectors
    assert model.training, "the mode is restored"
    assert refined.shape == (60, width)
    torch.testing.assert_close(refined.norm(dim=1), torch.ones(60))
    x = descriptors.queries.vectors
    expected = one_by_one(model, x, neighbours_for(x, "knn", 4), x)
    torch.testing.assert_close(refined, expected, atol=1e-5, rtol=0)


def test_nearest_neighbours_by_brute_force():
    q, g = unit(30, 1), unit(50, 2)
    closeness = q.double() @ g.double().T
    assert torch.equal(neighbours_for(q, "knn", 6, gallery=g), closeness.topk(5).indices)
    closeness = (g.double() @ g.double().T).fill_diagonal_(-2)
    assert torch.equal(neighbours_for(g, "knn", 6), closeness.topk(5).indices)


def test_k_reciprocal_neighbours_with_the_released_k1():
    q, g = unit(30, 1), unit(80, 2)
    assert torch.equal(neighbours_for(g, "k_reciprocal", 7), k_reciprocal_groups(g, 7, 30)[:, 1:])
    alone = torch.cat([k_reciprocal_groups(x[None], 7, 30, gallery=g) for x in q])
    assert torch.equal(neighbours_for(q, "k_reciprocal", 7, gallery=g), alone)


@pytest.mark.parametrize("size", [3, 7, 20])
@pytest.mark.parametrize("own_gallery", [True, False])
def test_clusters_are_cut_and_filled_up_by_brute_force(size, own_gallery):
    g = unit(90, 2)
    x = g if own_gallery else unit(30, 1)
    found = neighbours_for(x, "cluster", size, gallery=None if own_gallery else g, seed=5)
    assigned, *_ = kmeans(g, 90 // size, KMeansSettings(seed=5))
    centres = np.stack([g[assigned == c].double().mean(0) for c in range(90 // size)])
    for row, vector in enumerate(x.double()):
        closeness = (g.double() @ vector).numpy()
        cluster = ((centres - vector.numpy()) ** 2).sum(1).argmin()
        if own_gallery:
            closeness[row] = -2
            cluster = assigned[row]
        order = [i for i in np.argsort(-closeness) if not (own_gallery and i == row)]
        inside = [i for i in order if assigned[i] == cluster]
        outside = [i for i in order if assigned[i] != cluster]
        assert found[row].tolist() == [*inside, *outside][: size - 1], row


@pytest.mark.parametrize("method", METHODS)
def test_no_image_is_its_own_neighbour_even_among_duplicates(method):
    x = F.normalize(torch.ones(40, D), dim=1)
    others = neighbours_for(x, MPN_REFINERS[method], 7)
    assert others.shape == (40, 6)
    assert not (others == torch.arange(40)[:, None]).any()
    assert all(len(set(row)) == 6 for row in others.tolist())


@pytest.mark.parametrize("method", METHODS)
def test_as_many_neighbours_as_there_are_images(method):
    x = unit(9, 0)
    for row, others in enumerate(neighbours_for(x, MPN_REFINERS[method], 9).tolist()):
        assert sorted([row, *others]) == list(range(9))
    q = unit(3, 1)
    for others in neighbours_for(q, MPN_REFINERS[method], 10, gallery=x).tolist():
        assert sorted(others) == list(range(9))


def test_invalid_refinements():
    descriptors = same_set(6)
    with pytest.raises(RunError, match=r"evaluate\.refine_size is 7.* 6 images"):
        refine(make_model(), descriptors, "mpn", 7)
    plain = IntraBatchModel(nn.Flatten(), None, [], nn.Linear(D, 3))
    assert refine(plain, descriptors, "none", 7) is descriptors
    with pytest.raises(RunError, match="without message passing"):
        refine(plain, descriptors, "mpn", 3)
    with pytest.raises(RunError, match=r"evaluate\.refine_size = 3"):
        refine(make_model(graph=partial(knn, k=5)), descriptors, "mpn", 3)


def test_scores_name_the_refinement():
    model, descriptors = make_model(), same_set()
    config = EvaluateConfig(refine="mpn_k_reciprocal", refine_size=5)
    scores = refine_and_score(model, descriptors, config, seed=3)
    assert (scores["refine"], scores["refine_size"]) == ("mpn_k_reciprocal", 5)
    refined = refine(model, descriptors, "mpn_k_reciprocal", 5, seed=3)
    expected = score(refined, config, seed=3)
    assert {name: scores[name] for name in expected} == expected
    assert expected["kmeans_seed"] == 3
