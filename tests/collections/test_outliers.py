"""Likely label errors: agreement as scikit-learn's kNN, planted errors, pages."""

import csv

import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from ibc_pyg.cli import run
from ibc_pyg.collections.outliers import class_agreement, find_outliers
from ibc_pyg.errors import ConfigError, RunError
from tests.helpers.vector_index import clustered, make_vector_index


def number(outlier):
    return int(outlier.path.rsplit("/", 1)[1].removesuffix(".png"))


def test_agreement_is_the_share_of_the_votes(tmp_path):
    vectors, classes = clustered(150, 8, clusters=5, noise=0.4)
    found = find_outliers(make_vector_index(tmp_path / "i", vectors, classes), 7)
    search = NearestNeighbors(n_neighbors=8, metric="cosine").fit(vectors)
    distances, others = search.kneighbors(vectors)
    assert len(found) == 150
    for each in found:
        row = number(each)
        votes = np.clip(1 - distances[row, 1:], 0, None)
        own = votes[classes[others[row, 1:]] == classes[row]].sum() / votes.sum()
        assert each.agreement == pytest.approx(own, abs=1e-5)
        assert each.share >= each.agreement - 1e-9


def test_planted_errors_come_first(tmp_path):
    vectors, classes = clustered(300, 16, clusters=6, noise=0.1)
    wrong = np.random.default_rng(0).permutation(300)[:15]
    labels = classes.copy()
    labels[wrong] = (classes[wrong] + 1) % 6
    found = find_outliers(make_vector_index(tmp_path / "i", vectors, labels))
    assert {number(each) for each in found[:15]} == set(wrong.tolist())
    assert all(each.suspicious for each in found[:15])
    assert not any(each.suspicious for each in found[15:])
    assert all(each.suggested == str(classes[number(each)]) for each in found[:15])
    values = class_agreement(found)
    assert list(values.values()) == sorted(values.values(), key=lambda item: item[1])


def test_an_index_without_classes(tmp_path):
    index = make_vector_index(tmp_path / "i", clustered(5, 4)[0])
    with pytest.raises(RunError, match="fewer than two classes"):
        find_outliers(index)
    with pytest.raises(ConfigError, match="neighbours"):
        find_outliers(index, 0)


def test_commands_with_and_without_errors(tmp_path, capsys):
    vectors, classes = clustered(60, 8, clusters=3, noise=0.05)
    labels = np.where(np.arange(60) == 7, (classes + 1) % 3, classes)
    for name, given, found in (("good", classes, 0), ("bad", labels, 1)):
        index = make_vector_index(tmp_path / name, vectors, given)
        page, sheet = tmp_path / f"{name}.html", tmp_path / f"{name}.csv"
        options = ["--html", str(page), "--csv", str(sheet), "-k", "5"]
        assert run(["index", "outliers", str(index.path), *options]) == 0
        assert f"{found} of 60 pictures" in capsys.readouterr().out
        assert ("No picture has neighbours" in page.read_text()) == (found == 0)
        assert len(list(csv.DictReader(sheet.read_text().splitlines()))) == 60
