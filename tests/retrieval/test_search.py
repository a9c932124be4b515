"""Hits are those of a brute-force search, and of the metrics; filters and removals keep k."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

import ibc_pyg
from ibc_pyg.errors import ConfigError, RunError
from ibc_pyg.metrics import nearest_neighbours
from ibc_pyg.retrieval.hits import Hit, vote
from ibc_pyg.retrieval.nearest import nearest_rows
from tests.helpers.index_pictures import CountingModel, save_picture, save_pictures


@pytest.fixture(scope="module")
def model():
    return CountingModel().embedder


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    save_pictures(folder, 40)
    return folder


@pytest.fixture
def index(model, photos, tmp_path):
    with ibc_pyg.Index.build(model, photos, tmp_path / "index", batch_size=16) as index:
        yield index


@pytest.fixture(scope="module")
def queries(tmp_path_factory):
    folder = tmp_path_factory.mktemp("queries")
    return [save_picture(folder / f"{i}.png", 1000 + i) for i in range(5)]


def brute_force(queries, vectors, k, allowed=None):
    """Rows and cosines in float64, the lower row first among equals."""
    q = queries.astype(np.float64) / np.linalg.norm(queries, axis=1, keepdims=True)
    g = vectors.astype(np.float64) / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = q @ g.T
    if allowed is not None:
        cosines[:, ~allowed] = -np.inf
    rows = np.argsort(-cosines, axis=1, kind="stable")[:, :k]
    return rows, np.take_along_axis(cosines, rows, 1)


def test_vectors_are_those_of_the_model_in_the_order_of_the_paths(index, model, photos):
    files = sorted(photos.rglob("*.png"))
    assert [entry.path for entry in index.catalogue] == [str(file) for file in files]
    assert [entry.label for entry in index.catalogue] == [file.parent.name for file in files]
    assert np.array_equal(index.vectors, model.embed(files, batch_size=16))
    assert len(index) == len(files) == len(index.vectors)


def test_hits_are_those_of_brute_force_and_of_the_metrics(index, model, queries):
    found = index.search(queries, k=7)
    vectors = np.asarray(model.embed(queries))
    rows, cosines = brute_force(vectors, index.vectors, 7)
    assert [[hit.row for hit in hits] for hits in found] == rows.tolist()
    assert np.allclose([[h.similarity for h in hits] for hits in found], cosines, atol=1e-6)
    metric = nearest_neighbours(vectors, np.array(index.vectors), k=7)
    assert [[hit.row for hit in hits] for hits in found] == metric.indices.tolist()
    assert [[hit.similarity for hit in hits] for hits in found] == metric.scores.tolist()
    assert [hit.rank for hit in found[0]] == [1, 2, 3, 4, 5, 6, 7]
    by_row = {entry.row: (entry.path, entry.label) for entry in index.catalogue}
    assert all((h.path, h.label) == by_row[h.row] for hits in found for h in hits)


def test_the_same_with_pytorch_metric_learning_imported(index, queries):
    before = index.search(queries, k=5)
    pytest.importorskip("pytorch_metric_learning.utils.inference")
    assert index.search(queries, k=5) == before


def test_every_form_of_a_query_gives_the_same_hits(index, model, queries):
    file = queries[0]
    hits = index.search(file, k=4)
    with Image.open(file) as image:
        image.load()
        vector = np.asarray(model.embed([file]))
        for query in (str(file), file.read_bytes(), image, np.asarray(image)):
            assert index.search(query, k=4) == hits
        for query in (vector[0], torch.from_numpy(vector[0]), vector[0].astype(np.float64)):
            assert index.search(query, k=4) == hits
        for query in ([file], [image], vector, torch.from_numpy(vector)):
            assert index.search(query, k=4) == [hits]
    assert index.search([], k=4) == []


def test_a_query_that_is_an_indexed_file_is_marked(index, photos, tmp_path):
    file = photos / "apple" / "0003.png"
    for query in (file, file.read_bytes(), tmp_path.joinpath("copy.png")):
        if query == tmp_path / "copy.png":
            query.write_bytes(file.read_bytes())
        hits = index.search(query, k=3)
        assert [hit.identical for hit in hits] == [True, False, False]
        assert hits[0].path == str(file)
        assert hits[0].similarity == pytest.approx(1)
    with Image.open(file) as image:
        again = io.BytesIO()
        image.save(again, "bmp")
    assert not any(hit.identical for hit in index.search(again.getvalue(), k=3))


@pytest.mark.parametrize("labels", ["apple", ["apple", "plum"], ["apple", None]])
def test_a_filter_still_gives_k_and_equals_exact_search_on_the_subset(
    index, model, queries, labels
):
    wanted = [labels] if isinstance(labels, str) else labels
    allowed = np.zeros(len(index.vectors), bool)
    allowed[[entry.row for entry in index.catalogue if entry.label in wanted]] = True
    rows, cosines = brute_force(np.asarray(model.embed(queries)), index.vectors, 10, allowed)
    found = index.search(queries, k=10, where={"label": labels})
    assert [[hit.row for hit in hits] for hits in found] == rows.tolist()
    assert np.allclose([[h.similarity for h in hits] for hits in found], cosines, atol=1e-6)
    assert {hit.label for hits in found for hit in hits} <= set(wanted)


def test_a_filter_that_nothing_passes_gives_nothing(index, queries):
    assert index.search(queries[0], where={"label": "banana"}) == []
    with pytest.raises(ConfigError, match="filtered by label, not by 'colour'"):
        index.search(queries[0], where={"colour": "red"})
    with pytest.raises(ConfigError, match="a label is text"):
        index.search(queries[0], where={"label": 3})


def test_removed_pictures_are_never_found_and_the_others_fill_their_places(index, model, queries):
    rng = np.random.default_rng(0)
    gone = rng.choice(len(index), 12, replace=False)
    assert index.remove(row=gone.tolist()) == 12
    allowed = np.ones(len(index.vectors), bool)
    allowed[gone] = False
    vectors = np.asarray(model.embed(queries))
    rows, _ = brute_force(vectors, index.vectors, 20, allowed)
    assert [[hit.row for hit in h] for h in index.search(queries, k=20)] == rows.tolist()
    before = [[(hit.path, hit.label) for hit in hits] for hits in index.search(queries, k=28)]
    size = sum(file.stat().st_size for file in index.path.glob("*.f32"))
    assert index.compact() == 12
    assert index.verify() == []
    after = [[(hit.path, hit.label) for hit in hits] for hits in index.search(queries, k=28)]
    assert after == before
    assert sum(file.stat().st_size for file in index.path.glob("*.f32")) == size * 28 // 40


def test_more_than_there_are_gives_all(index, queries):
    assert len(index.search(queries[0], k=1000)) == len(index)


def test_little_similarity_is_left_out(index, queries):
    hits = index.search(queries[0], k=40)
    least = hits[9].similarity
    assert index.search(queries[0], k=40, min_similarity=least) == hits[:10]
    assert index.search(queries[0], k=40, min_similarity=1.0) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"k": 0}, "k must be an integer >= 1, not 0"),
        ({"k": True}, "k must be an integer"),
        ({"k": 2.0}, "k must be an integer"),
        ({"min_similarity": float("nan")}, r"min_similarity must be in \[-1, 1\], not nan"),
        ({"min_similarity": 2}, "min_similarity must be in"),
        ({"query": np.zeros(3, np.float32)}, r"a query vector must be \[16\] or \[Q, 16\]"),
        ({"query": np.full(16, np.nan)}, "the query has NaN"),
        ({"query": np.zeros((1, 2, 16))}, "a query vector must be"),
        ({"query": 3}, "a query is a picture"),
    ],
)
def test_wrong_arguments(index, queries, arguments, message):
    with pytest.raises(ValueError, match=message):
        index.search(**{"query": queries[0]} | arguments)


def test_queries_that_cannot_be_read(index, queries, tmp_path):
    with pytest.raises(RunError, match=r"none\.png is not a file"):
        index.search(tmp_path / "none.png")
    with pytest.raises(RunError, match="is not a file; give a picture"):
        index.search([queries[0], tmp_path])
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(RunError, match=r"text\.png: .*; search with another picture$"):
        index.search([queries[0], tmp_path / "text.png"])


def test_one_picture_equal_pictures_and_zero_vectors():
    one = np.eye(3, dtype=np.float32)[:1]
    found = nearest_rows(one, one, 5, None)
    assert (found.rows.tolist(), found.similarities.tolist()) == ([[0]], [[1.0]])
    zeros = np.zeros((2, 3), np.float32)
    gallery = np.concatenate([zeros, one, one, -one])
    found = nearest_rows(gallery, np.concatenate([one, zeros[:1]]), 5, None)
    assert found.rows[0].tolist() == [2, 3, 0, 1, 4]
    assert found.similarities[0].tolist() == pytest.approx([1, 1, 0, 0, -1])
    assert np.isfinite(found.similarities).all()
    nobody = nearest_rows(gallery, one, 5, np.zeros(5, bool))
    assert nobody.rows.shape == (1, 0)


def test_black_white_and_equal_pictures(model, tmp_path):
    for number, value in enumerate((0, 255, 0)):
        drawing = Image.new("L", (9 + number, 9), value)
        drawing.save(tmp_path / f"{number}.png")
    with ibc_pyg.Index.build(model, tmp_path, tmp_path / "index") as index:
        assert np.isfinite(index.vectors).all()
        hits = index.search(tmp_path / "0.png", k=3)
        assert [hit.row for hit in hits][:2] == [0, 2]
        assert np.isfinite([hit.similarity for hit in hits]).all()
        zeros = index.search(np.zeros(16, np.float32), k=3)
        assert [(hit.row, hit.similarity) for hit in zeros] == [(0, 0.0), (1, 0.0), (2, 0.0)]


def hit(label, similarity, rank=1):
    return Hit(rank, similarity, "a.png", label, 0)


def test_neighbours_vote_by_their_similarity():
    found = vote([hit("a", 0.9), hit("b", 0.5), hit("b", 0.6), hit(None, 1.0), hit("c", -0.9)])
    assert (found.label, found.share) == ("b", pytest.approx(1.1 / 2.0))
    assert vote([hit("a", 0.5), hit("b", 0.5)]).label == "a"
    assert vote([hit(None, 0.9), hit("a", -0.1), hit("b", 0.0)]) is None
    assert vote([]) is None


@pytest.mark.slow
def test_photographs_of_a_data_set_are_found_as_the_metrics_find_them(model, shared, tmp_path):
    root = shared / "data" / "grocery_store"
    with ibc_pyg.Index.build(
        model, "grocery_store", tmp_path / "i", root=root, part="test"
    ) as index:
        assert len(index) == 2370
        assert len({entry.label for entry in index.catalogue}) == 40
        queries = [entry.path for entry in index.catalogue[::100]]
        found = index.search(queries, k=10)
        vectors = np.asarray(model.embed(queries))
        metric = nearest_neighbours(vectors, np.array(index.vectors), k=10)
        assert [[hit.row for hit in hits] for hits in found] == metric.indices.tolist()
        assert [[hit.similarity for hit in hits] for hits in found] == metric.scores.tolist()
        assert all(hits[0].similarity == pytest.approx(1) for hits in found)
        assert index.sync().unchanged == 2370
