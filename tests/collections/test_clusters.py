"""Groups: as evaluate's k-means, as scikit-learn's HDBSCAN; names that are kept."""

import csv

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from ibc_pyg.cli import run
from ibc_pyg.collections import clusters as module
from ibc_pyg.collections.cluster_names import read_names, with_names, write_names
from ibc_pyg.collections.clusters import hdbscan_clusters, k_means_clusters
from ibc_pyg.errors import ConfigError, RunError
from ibc_pyg.metrics import clustering_metrics
from tests.helpers.vector_index import clustered, make_vector_index


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    vectors, classes = clustered(200, 16, clusters=6, noise=0.15)
    folder = tmp_path_factory.mktemp("index") / "i"
    return make_vector_index(folder, vectors, classes), vectors, classes


def assigned(found, number):
    out = np.full(number, -1)
    for group, cluster in enumerate(found.clusters):
        for member in cluster.members:
            out[int(member.path.rsplit("/", 1)[1].removesuffix(".png"))] = group
    return out


@pytest.mark.parametrize("seed", [0, 1])
def test_k_means_has_the_nmi_of_evaluate(labelled, seed):
    index, vectors, classes = labelled
    for number in (6, 9):
        found = k_means_clusters(index, number, seed=seed)
        expected = clustering_metrics(vectors, classes, k=number, seed=seed)["NMI"]
        own = normalized_mutual_info_score(classes, assigned(found, 200))
        assert own == pytest.approx(expected, abs=1e-12)
        assert len(found.clusters) == number


def test_hdbscan_is_that_of_scikit_learn(labelled):
    from sklearn.cluster import HDBSCAN

    index, vectors, _ = labelled
    found = hdbscan_clusters(index, 5)
    expected = HDBSCAN(min_cluster_size=5, copy=True).fit(vectors.astype(float)).labels_
    own = assigned(found, 200)
    assert ((own < 0) == (expected < 0)).all()
    assert adjusted_rand_score(expected, own) == 1.0
    assert len(found.rest) == (expected < 0).sum()


def test_hdbscan_is_bounded(labelled, monkeypatch):
    monkeypatch.setattr(module, "MOST_HDBSCAN", 100)
    with pytest.raises(RunError, match=r"200 pictures.*at most 100.*-n NUMBER"):
        hdbscan_clusters(labelled[0])


def test_members_are_ordered_by_their_distance_from_the_centre(labelled):
    index, vectors, _ = labelled
    for cluster in k_means_clusters(index, 6).clusters:
        rows = [int(m.path.rsplit("/", 1)[1].removesuffix(".png")) for m in cluster.members]
        centre = vectors[rows].mean(0)
        expected = vectors[rows] @ centre / np.linalg.norm(centre)
        assert np.allclose([m.similarity for m in cluster.members], expected, atol=1e-5)
        assert (np.diff(expected) <= 1e-6).all()


def test_numbers_out_of_range(labelled):
    for number in (0, 201):
        with pytest.raises(ConfigError, match="1 to 200"):
            k_means_clusters(labelled[0], number)
    with pytest.raises(ConfigError, match=">= 2"):
        hdbscan_clusters(labelled[0], 1)


def test_names_are_found_again_in_other_groups(labelled, tmp_path):
    index, file = labelled[0], tmp_path / "names.csv"
    first = k_means_clusters(index, 6)
    write_names(file, first, [])
    assert read_names(file) == []
    rows = list(csv.reader(file.read_text().splitlines()))
    rows[1][1], rows[3][1] = "=red, ripe", "boxes"
    with file.open("w", newline="") as out:
        csv.writer(out).writerows(rows)
    names = read_names(file)
    assert [each.name for each in names] == ["=red, ripe", "boxes"]
    again = with_names(k_means_clusters(index, 9, seed=3), names)
    named = {each.name: each for each in again.clusters if each.name}
    assert set(named) == {"=red, ripe", "boxes"}
    paths = {member.path for member in named["boxes"].members}
    assert sum(path in paths for path in rows[3][3:]) >= 3
    write_names(file, again, names)
    assert [each.name for each in read_names(file)] == [
        each.name for each in again.clusters if each.name
    ]


def test_a_name_without_pictures_is_kept(labelled, tmp_path):
    file = tmp_path / "names.csv"
    found = k_means_clusters(labelled[0], 2)
    write_names(file, found, [])
    text = file.read_text()
    file.write_text(text + ",gone,,/elsewhere/1.png,,,,\n")
    names = read_names(file)
    write_names(file, with_names(found, names), names)
    assert [each.name for each in read_names(file)] == ["gone"]


@pytest.mark.parametrize("text", ["", "a,b\n", "group,name\n1,2\n", "\udcff"])
def test_a_foreign_file_of_names(text, tmp_path):
    file = tmp_path / "names.csv"
    file.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(RunError, match=r"names\.csv"):
        read_names(file)


def test_commands_write_csv_names_and_page(labelled, tmp_path, capsys):
    index = str(labelled[0].path)
    files = [tmp_path / name for name in ("c.html", "c.csv", "n.csv")]
    options = ["--html", str(files[0]), "--csv", str(files[1]), "--names", str(files[2])]
    assert run(["index", "clusters", index, "-n", "3", *options]) == 0
    assert "3 groups" in capsys.readouterr().out
    rows = list(csv.DictReader(files[1].read_text().splitlines()))
    assert len(rows) == 200
    assert {row["group"] for row in rows} == {"1", "2", "3"}
    assert files[0].read_text().count("The picture is missing.") == 36
    assert run(["index", "clusters", index, "--hdbscan", "--min-size", "150", *options]) == 0
    assert "No groups were found." in files[0].read_text()
    assert run(["index", "clusters", index]) == 2
