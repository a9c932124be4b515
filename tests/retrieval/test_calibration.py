"""Thresholds against brute force, and what they promise for classes that they have not seen."""

import json
import sqlite3

import numpy as np
import pytest

import ibc_pyg
from ibc_pyg import cli
from ibc_pyg.errors import RunError
from ibc_pyg.retrieval.calibration import thresholds as module
from ibc_pyg.retrieval.calibration.thresholds import RATES, count_pairs
from tests.helpers.index_pictures import CountingModel, save_pictures
from tests.helpers.vector_index import clustered, make_vector_index


def brute_force(vectors, classes):
    """Cosines of pairs of one class and of two, float64."""
    unit = vectors / np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    a, b = np.triu_indices(len(unit), 1)
    cosines = (unit[a] * unit[b]).sum(1)
    return cosines[classes[a] == classes[b]], cosines[classes[a] != classes[b]]


def test_all_pairs_are_counted_exactly(monkeypatch):
    monkeypatch.setattr(module, "_CHUNK", 37)
    vectors, classes = clustered(400, 16, clusters=20, noise=0.8)
    rates = count_pairs(vectors, np.arange(400), classes)
    same, other = brute_force(vectors, classes)
    assert (rates.same, rates.other) == (len(same), len(other))
    assert (rates.pictures, rates.classes) == (400, 20)
    assert [each.false_accepts for each in rates.thresholds] == list(RATES)
    for each in rates.thresholds:
        assert np.mean(other >= each.similarity - 1e-6) >= each.false_accepts - 2 / len(other)
        assert np.mean(other >= each.similarity + 1e-6) <= each.false_accepts
        assert each.true_accepts == pytest.approx(np.mean(same >= each.similarity), abs=2e-3)
    for similarity in np.quantile(other, [0.1, 0.5, 0.9, 0.99, 0.999]):
        share = np.mean(other >= similarity)
        assert rates.strangers(similarity) == pytest.approx(share, rel=0.1)
    assert rates.strangers(1.0) <= 1 / len(other) + 1e-12
    assert rates.strangers(-1.0) == pytest.approx(1)


def test_few_strangers_give_no_small_rates():
    vectors, classes = clustered(30, 8, clusters=5)
    rates = count_pairs(vectors, np.arange(30), classes)
    assert [each.false_accepts for each in rates.thresholds] == [0.1, 0.01]


def test_strangers_of_other_classes_keep_the_rate():
    vectors, classes = clustered(3000, 32, clusters=300, noise=1.0)
    held_out = classes >= 150
    rates = count_pairs(vectors, np.flatnonzero(~held_out), classes[~held_out])
    _, other = brute_force(vectors[held_out], classes[held_out])
    for each in rates.thresholds:
        share = np.mean(other >= each.similarity)
        assert each.false_accepts / 3 <= share <= 3 * each.false_accepts


def test_a_large_index_is_drawn_by_classes_and_repeatable(monkeypatch):
    monkeypatch.setattr(module, "MOST_PICTURES", 300)
    monkeypatch.setattr(module, "MOST_OF_CLASS", 20)
    vectors, classes = clustered(3000, 16, clusters=60, noise=0.8)
    one, again, other = (count_pairs(vectors, np.arange(3000), classes, s) for s in (1, 1, 2))
    assert one == again != other
    assert one.pictures == 300
    assert one.classes == 15
    full = np.mean(brute_force(vectors, classes)[1] >= one.thresholds[1].similarity)
    assert 0.003 < full < 0.03


def test_too_few_pictures_are_named():
    vectors, _ = clustered(30, 8)
    for classes in (np.arange(30), np.zeros(30, np.int64)):
        with pytest.raises(RunError, match="too few to calibrate"):
            count_pairs(vectors, np.arange(30), classes)
    with pytest.raises(RunError, match="too few"):
        count_pairs(vectors, np.empty(0, np.int64), np.empty(0, np.int64))


@pytest.fixture
def path(tmp_path):
    save_pictures(tmp_path / "photos", 60, classes=("apple", "pear", "plum", "kiwi"))
    model = CountingModel().embedder
    ibc_pyg.Index.build(model, tmp_path / "photos", tmp_path / "index").close()
    return tmp_path / "index"


def test_hits_say_how_often_strangers_are_as_similar(path, tmp_path, capsys):
    query = tmp_path / "photos" / "apple" / "0000.png"
    with ibc_pyg.Index.open(path) as index:
        assert index.search(query, k=1)[0].strangers is None
    assert cli.run(["index", "calibrate", str(path)]) == 0
    out = capsys.readouterr().out
    assert "60 pictures of 4 classes, 420 pairs of one class and 1,350 of two" in out
    with ibc_pyg.Index.open(path) as index:
        assert index.verify() == []
        found = index.calibration
        hits = index.search(query, k=5)
    assert [hit.strangers for hit in hits] == [found.rates.strangers(h.similarity) for h in hits]
    assert hits[0].strangers == pytest.approx(1 / 1350, rel=1)
    words = ["search", str(path), str(query), "-k", "5"]
    outputs = ["--json", str(tmp_path / "a.json"), "--html", str(tmp_path / "a.html")]
    assert cli.run([*words, *outputs]) == 0
    out = capsys.readouterr().out
    assert "strangers" in out.splitlines()[1]
    assert "1 in 1,350" in out
    (answer,) = json.loads((tmp_path / "a.json").read_text())["queries"]
    assert [each["strangers"] for each in answer["hits"]] == [hit.strangers for hit in hits]
    assert "strangers: 1 in 1,350" in (tmp_path / "a.html").read_text()


@pytest.mark.parametrize(
    ("trained", "held_out", "pictures", "phrase"),
    [
        (None, True, 60, "not known"),
        (("apple", "other"), True, 45, "not trained on"),
        (("apple", "pear", "plum"), False, 60, "trained ones included"),
    ],
)
def test_classes_trained_on_are_left_out(path, trained, held_out, pictures, phrase):
    model = CountingModel().embedder
    model.class_names = trained
    with ibc_pyg.Index.open(path, model) as index:
        found = index.calibrate()
    assert found.held_out == held_out
    assert found.rates.pictures == pictures
    assert phrase in str(found)


def test_a_calibration_of_another_model_is_not_used(path):
    with ibc_pyg.Index.open(path) as index:
        found = index.calibrate()
        assert index.calibration == found
        index.fingerprint = type(index.fingerprint)(
            **{**vars(index.fingerprint), "weights": "1" * 64}
        )
        assert index.calibration is None


@pytest.mark.parametrize("text", ["{}", "[", '{"rates": {"thresholds": [1]}}', "3"])
def test_a_damaged_calibration_is_named(tmp_path, text):
    vectors, classes = clustered(50, 8)
    make_vector_index(tmp_path / "index", vectors, classes).close()
    with sqlite3.connect(tmp_path / "index" / "catalogue.sqlite") as sql:
        sql.execute("INSERT INTO meta VALUES ('calibration', ?)", (text,))
    with (
        ibc_pyg.Index.open(tmp_path / "index") as index,
        pytest.raises(RunError, match="index calibrate INDEX"),
    ):
        index.search(vectors[0])
