"""The search in one pass gives what `metrics.nearest_neighbours` gives, ties included."""

import numpy as np
import pytest

from ibc_pyg.errors import RunError
from ibc_pyg.metrics import nearest_neighbours
from ibc_pyg.retrieval import nearest
from tests.helpers.vector_index import clustered

DIM = 24


def cases():
    rng = np.random.default_rng(0)
    random = rng.normal(size=(700, DIM)).astype(np.float32)
    zeros = random.copy()
    zeros[::3] = 0
    return {
        "random": random,
        "clusters": clustered(700, DIM)[0],
        "copies": random[rng.integers(9, size=700)],
        "zeros": zeros,
        "one direction": (1 + 1e-6 * random).astype(np.float32),
        "powers of two": (random[rng.integers(90, size=700)] * 2.0 ** rng.integers(-9, 9, (700, 1)))
        .astype(np.float32),
    }  # fmt: skip


@pytest.fixture
def small_parts(monkeypatch):
    monkeypatch.setattr(nearest, "_DIRECT", 0)
    monkeypatch.setattr(nearest, "_CHUNK", 37 * DIM)
    monkeypatch.setattr(nearest, "_QUERIES", 7)
    monkeypatch.setattr(nearest, "_PAIRS", 300)


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("k", [1, 10, 699])
@pytest.mark.parametrize("name", list(cases()))
def test_rows_and_similarities_are_those_of_the_metrics(name, k):
    vectors = cases()[name]
    queries = np.concatenate([vectors[:8], clustered(6, DIM, seed=1)[0]])
    for allowed in (None, np.random.default_rng(2).random(len(vectors)) < 0.4):
        chosen = np.arange(len(vectors)) if allowed is None else np.flatnonzero(allowed)
        truth = nearest_neighbours(queries, vectors[chosen], k=min(k, len(chosen)))
        found = nearest.nearest_rows(vectors, queries, k, allowed)
        assert found.rows.tolist() == chosen[truth.indices.numpy()].tolist()
        assert np.allclose(found.similarities, truth.scores.numpy(), rtol=0, atol=1e-6)


@pytest.mark.usefixtures("small_parts")
def test_a_vector_that_is_not_finite_is_named_as_damage():
    vectors = cases()["random"]
    vectors[500, 3] = np.nan
    with pytest.raises(RunError, match=r"damaged; examine it: .* index verify"):
        nearest.nearest_rows(vectors, vectors[:2], 3, None)
