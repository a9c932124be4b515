"""Refined search in an index against refinement of the same vectors in memory."""

import shutil

import numpy as np
import pytest

from ibc_pyg.errors import ConfigError, RunError
from ibc_pyg.refinement import Parameters, refine_vectors
from ibc_pyg.retrieval.index import Index
from ibc_pyg.retrieval.refined import writing
from ibc_pyg.retrieval.refined.record import FOLDER
from tests.helpers.index_pictures import CountingModel, save_picture, save_pictures

TWICE = Parameters(k=4, power=3, rounds=2, share=0.3)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("refined")
    save_pictures(folder / "photos", 30)
    model = CountingModel().embedder
    Index.build(model, folder / "photos", folder / "index").close()
    return folder, model


@pytest.fixture
def index(made, tmp_path):
    folder, model = made
    shutil.copytree(folder, tmp_path / "copy")
    with Index.open(tmp_path / "copy" / "index", model) as opened:
        yield opened


def queries(index, number=5):
    draws = np.random.default_rng(3)
    x = index.vectors[draws.choice(len(index.vectors), number)]
    return (x + 0.05 * draws.normal(size=x.shape)).astype(np.float32)


def rows(lists):
    return [[hit.row for hit in hits] for hits in lists]


def in_memory(method, x, g, parameters):
    found = refine_vectors(method, x, g, parameters)
    return (found.queries.double() @ found.gallery.double().T).numpy()  # [Q, N]


def agrees(lists, scores, k):
    """Hits have the k largest scores; rounding may swap those that are about equal."""
    assert all(len({hit.row for hit in hits}) == k for hits in lists)
    similarities = np.array([[hit.similarity for hit in hits] for hits in lists])
    assert np.allclose(
        similarities, np.take_along_axis(scores, np.array(rows(lists)), 1), atol=1e-5
    )
    assert np.allclose(similarities, -np.sort(-scores, axis=1)[:, :k], atol=1e-5)


@pytest.mark.parametrize("share", [0.0, 0.3])
@pytest.mark.parametrize("rounds", [1, 2])
def test_stored_vectors_are_those_of_refinement_in_memory(index, rounds, share, monkeypatch):
    monkeypatch.setattr(writing, "_CHUNK", 2000)  # several chunks
    p = Parameters(k=4, power=3, rounds=rounds, share=share)
    index.refine("dba", p)
    x = queries(index)
    scores = in_memory("dba", x, np.array(index.vectors), p)
    agrees(index.search(x, k=7, refine="dba"), scores, 7)


def test_query_expansion_stores_nothing(index):
    x = queries(index)
    scores = in_memory("aqe", x, np.array(index.vectors), TWICE)
    agrees(index.search(x, k=7, refine="aqe", parameters=TWICE), scores, 7)
    assert not (index.path / FOLDER).exists()


@pytest.mark.parametrize("method", ["aqe", "dba"])
def test_one_query_at_a_time_gives_the_same(index, method):
    index.refine()
    x = queries(index)
    together = index.search(x, k=7, refine=method)
    assert rows(together) == rows([index.search(each, k=7, refine=method) for each in x])


def test_filters_choose_among_the_same_similarities(index):
    index.refine("dba", TWICE)
    x = queries(index)
    everything = index.search(x, k=30, refine="dba")
    pears = index.search(x, k=30, where={"label": "pear"}, refine="dba")
    assert rows(pears) == rows([[h for h in hits if h.label == "pear"] for hits in everything])


def test_removed_pictures_are_no_neighbours(index):
    index.remove(label="plum")
    index.refine("dba", TWICE)
    kept = sorted({entry.row for entry in index.catalogue})
    assert len(kept) == 20
    x = queries(index)
    scores = np.full((5, 30), -2.0)
    scores[:, kept] = in_memory("dba", x, np.array(index.vectors)[kept], TWICE)
    agrees(index.search(x, k=7, refine="dba"), scores, 7)


@pytest.mark.parametrize("change", ["remove", "sync", "compact"])
def test_stale_vectors_are_refused_and_made_again(index, change):
    if change == "compact":
        index.remove(label="pear")
    index.refine()
    x = queries(index)
    assert index.refined[1]
    if change == "sync":
        save_picture(index.path.parent / "photos" / "apple" / "new.png", 999)
        index.relocate(index.path.parent / "photos")
        index.sync()
    elif change == "remove":
        index.remove(label="pear")
    else:
        index.compact()
    assert not index.refined[1]
    with pytest.raises(RunError, match=r"are stale: its pictures have changed since.*index refine"):
        index.search(x, refine="dba")
    assert index.search(x)
    index.refine()
    assert index.search(x, refine="dba")


def test_the_folder_may_be_deleted(index):
    with pytest.raises(RunError, match=r"has no refined vectors; make them: .* index refine"):
        index.search(queries(index), refine="dba")
    index.refine()
    assert index.refine("none") is None
    assert not (index.path / FOLDER).exists()
    assert index.refined is None
    assert index.verify() == []


def test_damage_is_named(index):
    index.refine()
    (file,) = (index.path / FOLDER).glob("*.f32")
    content = bytearray(file.read_bytes())
    content[5] ^= 1
    file.write_bytes(content)
    with pytest.raises(RunError, match="is damaged; make the refined vectors again"):
        index.search(queries(index), refine="dba")
    file.write_bytes(content[:-4])
    with pytest.raises(RunError, match="is damaged; make the refined vectors again"):
        index.search(queries(index), refine="dba")
    file.unlink()
    with pytest.raises(RunError, match=r"cannot be read.*index refine"):
        index.search(queries(index), refine="dba")
    record = index.path / FOLDER / "refined.json"
    record.write_text(record.read_text().replace('"dba"', '"../dba"'))
    with pytest.raises(RunError, match="is not a record of refined vectors"):
        index.search(queries(index), refine="dba")


def test_a_foreign_digest_never_becomes_a_path(index):
    index.refine()
    record = index.path / FOLDER / "refined.json"
    digest = index.refined[0].sha256[0]
    record.write_text(record.read_text().replace(digest, "../" * 21 + "a"))
    with pytest.raises(RunError, match="is not a record of refined vectors"):
        index.search(queries(index), refine="dba")


def test_wrong_input_is_named(index):
    with pytest.raises(ConfigError, match="aqe stores nothing in an index"):
        index.refine("aqe")
    with pytest.raises(ConfigError, match="not 'gnn': it pools the queries"):
        index.search(queries(index), refine="gnn")
    with pytest.raises(ConfigError, match="with a share of 1 or a k of 0"):
        index.refine("dba", Parameters(k=4, power=3, rounds=1, share=1))
    index.refine()
    with pytest.raises(ConfigError, match="are those that `index refine` stored"):
        index.search(queries(index), refine="dba", parameters=TWICE)


def test_one_picture_and_no_pictures(index):
    index.remove(label=["plum", "pear"])
    first = sorted({entry.row for entry in index.catalogue})
    index.remove(row=first[1:])
    index.refine("dba", TWICE)
    assert rows(index.search(queries(index), refine="dba")) == [[first[0]]] * 5
    assert rows(index.search(queries(index), refine="aqe")) == [[first[0]]] * 5
    index.remove(row=first[0])
    assert index.search(queries(index, 1), refine="aqe") == [[]]
    with pytest.raises(RunError, match="has no pictures to refine"):
        index.refine()


def test_an_approximate_index_is_refined_and_searched_approximately(index):
    pytest.importorskip("faiss")
    index.rebuild("ivf", 1.0)
    index.refine("dba", TWICE)
    assert list((index.path / FOLDER).glob("ann-*.faiss"))
    x = queries(index)
    scores = in_memory("dba", x, np.array(index.vectors), TWICE)
    agrees(index.search(x, k=3, refine="dba"), scores, 3)
