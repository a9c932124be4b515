"""The approximate search: exact scores, its promised recall, filters, additions, damage."""

import io
import logging
import shutil
import threading
from pathlib import Path

import faiss
import numpy as np
import pytest
from rich.console import Console

from ibc_pyg import cli
from ibc_pyg.errors import ConfigError, RunError
from ibc_pyg.retrieval.ann import build, record, searcher
from ibc_pyg.retrieval.ann.engine import Engine
from ibc_pyg.retrieval.ann.refresh import refresh_ann
from ibc_pyg.retrieval.index import Index
from ibc_pyg.retrieval.nearest import nearest_rows
from ibc_pyg.retrieval.store.writer import store_writer
from tests.helpers.index_pictures import FINISHED_RUN, save_pictures
from tests.helpers.vector_index import append_vectors, clustered, make_vector_index

N, DIM = 6000, 16
VECTORS, CLUSTERS = clustered(N, DIM)
QUERIES = clustered(50, DIM, seed=5)[0] + VECTORS[::120]
KINDS = ["ivf", "hnsw"]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folders = {}
    for kind in KINDS:
        folders[kind] = tmp_path_factory.mktemp("ann") / "index"
        with make_vector_index(folders[kind], VECTORS, CLUSTERS) as index:
            assert index.rebuild(kind, 0.9).recall >= 0.9
    return folders


@pytest.fixture(params=KINDS)
def path(request, built, tmp_path):
    return shutil.copytree(built[request.param], tmp_path / "index")


@pytest.fixture
def approximate_filters(monkeypatch):
    monkeypatch.setattr(searcher.Searcher, "few", 0)


def rows_of(lists):
    return [[hit.row for hit in hits] for hits in lists]


def recall(found, truth):
    pairs = zip(found, truth, strict=True)
    return np.mean([len(set(f) & set(t)) / len(t) for f, t in pairs])


def test_scores_and_order_are_exact_and_recall_is_what_was_measured(path):
    truth = nearest_rows(VECTORS, QUERIES, N, None)
    exact = [dict(zip(r, s, strict=True)) for r, s in zip(truth.rows.tolist(),
             truth.similarities.tolist(), strict=True)]  # fmt: skip
    with Index.open(path) as index:
        assert index.ann.rows == N
        own = nearest_rows(VECTORS, VECTORS, 11, None).rows
        found = rows_of(index.search(VECTORS, k=11))
        lists = index.search(QUERIES, k=10)
    without_self = [[r for r in rows if r != i][:10] for i, rows in enumerate(found)]
    truth_lists = [[r for r in rows.tolist() if r != i][:10] for i, rows in enumerate(own)]
    assert recall(without_self, truth_lists) >= 0.87  # measured with 1000 of these, k = 10
    for hits, scores in zip(lists, exact, strict=True):
        assert len({hit.row for hit in hits}) == 10
        assert np.allclose([h.similarity for h in hits], [scores[h.row] for h in hits], atol=1e-6)
        order = list(scores)
        places = [order.index(hit.row) for hit in hits]
        assert places == sorted(places)


def test_effort_is_the_least_that_reaches_the_target(path):
    with Index.open(path) as index:
        ann = index.ann
    table = dict(ann.table)
    assert table[ann.effort] == ann.recall >= ann.target
    lower = [value for effort, value in table.items() if effort < ann.effort]
    assert all(value < ann.target for value in lower)


def test_full_effort_equals_the_exact_search(path, built):
    with Index.open(path) as index:
        if index.ann.kind == "ivf":
            index.rebuild(recall=1.0)
            assert index.ann.recall == 1.0
        truth = nearest_rows(VECTORS, QUERIES, 10, None)
        assert recall(rows_of(index.search(QUERIES, k=10)), truth.rows.tolist()) >= 0.9


@pytest.mark.parametrize("visited", [1, 2, 8, 32, 128])
def test_the_nearest_lists_are_visited(visited):
    x = np.random.default_rng(8).normal(size=(4096, 16)).astype(np.float32)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    centres, queries = x[:128], x[-50:]
    quantizer = faiss.IndexHNSWFlat(16, 32, faiss.METRIC_INNER_PRODUCT)
    quantizer.add(centres)
    index = faiss.IndexIVFFlat(quantizer, 16, 128, faiss.METRIC_INNER_PRODUCT)
    index.add(x)
    owner = quantizer.search(x, 1)[1][:, 0]
    lists = np.argsort(-(queries @ centres.T), axis=1)[:, :visited]  # [Q, visited]
    found = Engine(index).search(queries, len(x), visited, None)
    wanted = [set(np.flatnonzero(np.isin(owner, each))) for each in lists]
    assert [set(rows[rows >= 0]) for rows in found] == wanted


def test_pytorch_metric_learning_changes_nothing(path):
    pytest.importorskip("pytorch_metric_learning.utils.inference")
    with Index.open(path) as index:
        before = index.search(QUERIES, k=10)
        import faiss.contrib.torch_utils  # noqa: F401  (replaces the methods of faiss)

        assert index.search(QUERIES, k=10) == before
        index.remove(row=[hit.row for hit in before[0]])
        assert not set(rows_of(before[:1])[0]) & set(rows_of(index.search(QUERIES, k=10))[0])
        assert index.rebuild().recall >= 0.9


@pytest.mark.usefixtures("approximate_filters")
@pytest.mark.parametrize("share", [0.5, 0.01, 0.0005, 0.0])
def test_filters_still_give_k(path, share):
    allowed = np.random.default_rng(1).random(N) < share
    labels = np.where(allowed, "in", "out")
    shutil.rmtree(path.parent / "labelled", ignore_errors=True)
    kind = Index.open(path).ann.kind
    with make_vector_index(path.parent / "labelled", VECTORS, labels) as index:
        index.rebuild(kind, 0.9)
        found = rows_of(index.search(QUERIES, k=10, where={"label": "in"}))
    truth = nearest_rows(VECTORS, QUERIES, 10, allowed).rows.tolist()
    assert [len(rows) for rows in found] == [min(10, int(allowed.sum()))] * len(QUERIES)
    assert all(allowed[rows].all() for rows in found)
    if share == 0.5:
        assert recall(found, truth) >= 0.9
    elif share <= 0.0005:
        assert found == truth


@pytest.mark.usefixtures("approximate_filters")
def test_a_filter_far_from_the_query_gives_k(path):
    with Index.open(path) as index:
        for cluster in range(5):
            hits = index.search(QUERIES, k=10, where={"label": str(cluster)})
            assert {len(each) for each in hits} == {10}
            assert {hit.label for each in hits for hit in each} == {str(cluster)}


def test_a_filter_that_few_rows_pass_is_exact(path):
    with Index.open(path) as index:
        for cluster in ("1", "2"):
            found = rows_of(index.search(QUERIES, k=10, where={"label": cluster}))
            allowed = np.array([str(each) == cluster for each in CLUSTERS])
            assert found == nearest_rows(VECTORS, QUERIES, 10, allowed).rows.tolist()


@pytest.mark.usefixtures("approximate_filters")
def test_removed_rows_are_never_found_and_recall_stays(path):
    gone = np.sort(np.random.default_rng(3).choice(N, int(0.3 * N), replace=False))
    left = np.ones(N, bool)
    left[gone] = False
    with Index.open(path) as index:
        full = nearest_rows(VECTORS, VECTORS[::20], 10, None).rows.tolist()
        before = recall(rows_of(index.search(VECTORS[::20], k=10)), full)
        index.remove(row=gone.tolist())
        found = rows_of(index.search(VECTORS[::20], k=10))
        truth = nearest_rows(VECTORS, VECTORS[::20], 10, left).rows.tolist()
        assert left[np.array(found)].all()
        assert recall(found, truth) >= before - 0.01
        index.compact()
        assert index.ann.rows == left.sum()
        size = sum(each.stat().st_size for each in path.iterdir())
    with make_vector_index(path.parent / "fresh", VECTORS[left], CLUSTERS[left]) as fresh:
        fresh.rebuild(index_kind(path), 0.9)
    fresh_size = sum(each.stat().st_size for each in (path.parent / "fresh").iterdir())
    assert size <= 1.05 * fresh_size


def index_kind(path):
    with Index.open(path) as index:
        return index.ann.kind


def refresh(path):
    with store_writer(path, DIM) as writer:
        refresh_ann(writer, Console(quiet=True))


def test_later_rows_are_searched_exactly_until_there_are_many(path):
    later = clustered(600, DIM, seed=9)[0]
    append_vectors(path, later)
    both = np.concatenate([VECTORS, later])
    with Index.open(path) as index:
        assert index.ann.rows == N
        assert rows_of(index.search(later, k=1)) == [[N + i] for i in range(600)]
        found = rows_of(index.search(QUERIES, k=10))
        truth = nearest_rows(both, QUERIES, 10, None).rows
        missed = [set(t[t >= N]) - set(f) for f, t in zip(found, truth, strict=True)]
        assert not any(missed)
        refresh(path)
        assert index.ann.rows == N
        append_vectors(path, clustered(601, DIM, seed=10)[0])
        refresh(path)
        assert index.ann.rows == N + 1201
    assert len(list(path.glob("ann-*"))) == 2


def damage(path, how):
    (data,) = path.glob("*.faiss")
    (about,) = path.glob("ann-*.json")
    content = bytearray(data.read_bytes())
    if how == "truncated":
        data.write_bytes(content[:-1000])
    elif how == "flipped":
        content[len(content) // 2] ^= 4
        data.write_bytes(content)
    elif how == "missing":
        data.unlink()
    elif how == "both missing":
        data.unlink()
        about.unlink()
    elif how == "record":
        about.write_text("{}")
    elif how == "record of another":
        about.write_text(about.read_text().replace('"rows": 6000', '"rows": 5999'))


@pytest.mark.parametrize(
    "how", ["truncated", "flipped", "missing", "both missing", "record", "record of another"]
)
def test_a_damaged_file_gives_exact_answers_and_one_warning(path, how, caplog):
    damage(path, how)
    truth = nearest_rows(VECTORS, QUERIES, 10, None).rows.tolist()
    with caplog.at_level(logging.WARNING), Index.open(path) as index:
        found = index.verify()
        if how == "both missing":
            assert found == []
        else:
            assert [line.split(":")[0] for line in found] == ["approximate search"]
            assert "index rebuild" in found[0]
        for _ in range(3):
            assert rows_of(index.search(QUERIES, k=10)) == truth
        (line,) = caplog.messages
        assert "searching exactly" in line
        assert "index rebuild" in line
        assert "\n" not in line
        assert index.rebuild() is not None
        assert index.ann.rows == N
        assert index.verify() == []
        assert recall(rows_of(index.search(QUERIES, k=10)), truth) >= 0.85


def test_vectors_of_another_index_are_noticed(path, caplog):
    with make_vector_index(path.parent / "other", VECTORS[::-1], CLUSTERS) as other:
        for each in path.glob("ann-*"):
            shutil.copy(each, path.parent / "other")
        other.rebuild("exact")
        for each in path.glob("ann-*"):
            shutil.copy(each, path.parent / "other")
    with Index.open(path.parent / "other") as other:
        assert other.ann is None
    with make_vector_index(path.parent / "third", VECTORS[::-1], CLUSTERS) as third:
        third.rebuild("ivf")
        for each in third.path.glob("ann-*"):
            each.unlink()
        for each in path.glob("ann-*"):
            shutil.copy(each, third.path)
    with Index.open(path.parent / "third") as third:
        truth = nearest_rows(VECTORS[::-1].copy(), QUERIES, 10, None).rows.tolist()
        assert rows_of(third.search(QUERIES, k=10)) == truth
    assert "made from other vectors" in caplog.text


def test_a_full_disk_leaves_the_earlier_file(path, monkeypatch):
    faiss = pytest.importorskip("faiss")
    before = sorted(each.name for each in path.glob("*ann-*"))

    def full(index, name):
        Path(name).write_bytes(b"half")
        raise RuntimeError("Error: 'ret == (size)' failed: write error: No space left on device")

    monkeypatch.setattr(faiss, "write_index", full)
    with Index.open(path) as index:
        with pytest.raises(RunError, match=r"cannot be written: .*No space left"):
            index.rebuild(recall=0.5)
        assert sorted(each.name for each in path.glob("*ann-*")) == before
        assert index.ann.rows == N


def test_readers_go_on_during_a_rebuild(path, caplog):
    done = threading.Event()

    def rebuild():
        with Index.open(path) as writer:
            for target in (0.8, 0.9, 0.7, 0.9):
                writer.rebuild(recall=target)
        done.set()

    thread = threading.Thread(target=rebuild)
    thread.start()
    searches = 0
    while not done.is_set() and thread.is_alive():
        with Index.open(path) as reader:
            assert reader.search(VECTORS[7], k=1)[0].similarity > 0.8
        searches += 1
    thread.join()
    assert done.is_set()
    assert searches > 3
    assert not caplog.messages


def test_a_killed_build_leaves_nothing_behind(path):
    (path / ".ann-000001-000006000-0123.abcd").write_bytes(b"half")
    (path / "ann-000009-000006000-0123.abcd.faiss").write_bytes(b"of another generation")
    append_vectors(path, VECTORS[:1] * -1)
    assert len(list(path.glob("*ann-*"))) == 2
    with Index.open(path) as index:
        assert index.ann.rows == N


def test_exact_on_request_removes_the_files(path):
    with Index.open(path) as index:
        assert index.rebuild("exact") is None
        assert index.ann is None
        assert not list(path.glob("*ann-*"))
        truth = nearest_rows(VECTORS, QUERIES, 10, None).rows.tolist()
        assert rows_of(index.search(QUERIES, k=10)) == truth


def test_auto_is_exact_below_the_measured_size_and_ivf_above(tmp_path, monkeypatch, caplog):
    with make_vector_index(tmp_path / "index", VECTORS) as index:
        assert index.rebuild("auto") is None
        index.search(QUERIES)
        assert not caplog.messages
        monkeypatch.setattr(record, "EXACT_NUMBERS", N * DIM - 1)
        assert index.rebuild().kind == "ivf"


def test_many_copies_zero_vectors_and_large_k(tmp_path):
    vectors = VECTORS[:3000].copy()
    vectors[:1000] = vectors[0]
    vectors[1000:1003] = 0
    with make_vector_index(tmp_path / "index", vectors) as index:
        assert index.rebuild("ivf").recall >= 0.95
        queries = np.concatenate([vectors[:1], np.zeros((1, DIM), np.float32), vectors[2000:2001]])
        copies, zero, other = index.search(queries, k=10)
        assert [round(hit.similarity, 6) for hit in copies] == [1.0] * 10
        assert [hit.row for hit in zero] == nearest_rows(vectors, queries[1:2], 10, None).rows[
            0
        ].tolist()
        assert other[0].row == 2000
        found = rows_of(index.search(queries, k=5000))
        assert found == nearest_rows(vectors, queries, 5000, None).rows.tolist()


def test_tiny_indexes_on_request(tmp_path):
    for n in (1, 2, 5):
        with make_vector_index(tmp_path / str(n), VECTORS[:n]) as index:
            for kind in ("ivf", "hnsw"):
                index.rebuild(kind)
                assert rows_of([index.search(VECTORS[0], k=10)])[0][0] == 0
                assert len(index.search(VECTORS[0], k=10)) == n


def test_wrong_arguments_are_named(path, monkeypatch):
    with Index.open(path) as index:
        with pytest.raises(ConfigError, match="ann must be one of auto, exact, ivf, hnsw"):
            index.rebuild("flat")
        with pytest.raises(ConfigError, match=r"recall must be in \(0, 1\]"):
            index.rebuild(recall=95)


def test_without_faiss(path, monkeypatch, caplog):
    monkeypatch.setitem(__import__("sys").modules, "faiss", None)
    truth = nearest_rows(VECTORS, QUERIES, 10, None).rows.tolist()
    with Index.open(path) as index:
        assert rows_of(index.search(QUERIES, k=10)) == truth
        assert "pip install faiss-cpu" in caplog.text
        with pytest.raises(RunError, match="pip install faiss-cpu"):
            index.rebuild("ivf")
        with pytest.raises(RunError, match="pip install faiss-cpu"):
            Index.build("resnet50", path.parent, path.parent / "new", ann="hnsw")
        assert not (path.parent / "new").exists()


def test_the_commands_choose_the_search(tmp_path, capsys):
    save_pictures(tmp_path / "photos", 40)
    index = str(tmp_path / "index")
    build = ["index", "build", str(FINISHED_RUN), str(tmp_path / "photos"), "--out", index]
    assert cli.run([*build, "--ann", "ivf", "--recall", "95"]) == 2
    assert capsys.readouterr().err == "error: recall must be in (0, 1], not 95.0\n"
    assert not Path(index).exists()
    assert cli.run([*build, "--ann", "ivf", "--recall", "0.8"]) == 0
    assert "approximate search: ivf over 40 vectors" in capsys.readouterr().out
    assert cli.run(["index", "info", index]) == 0
    assert "search: ivf over 40 vectors (lists 2, nprobe" in capsys.readouterr().out
    assert cli.run(["index", "rebuild", index, "--ann", "exact"]) == 0
    assert "is searched exactly: 40 pictures" in capsys.readouterr().out
    assert cli.run(["index", "info", index]) == 0
    assert "search: exact" in capsys.readouterr().out


def test_a_recall_that_is_not_reached_is_said_with_what_helps(tmp_path, monkeypatch):
    monkeypatch.setattr(build, "least_effort", lambda recall, engine, target: engine.least)
    console = Console(file=io.StringIO(), width=200)
    x = np.random.default_rng(0).normal(size=(3000, 32)).astype(np.float32)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    made = build.build_ann(tmp_path, 1, x, None, record.AnnSettings("ivf", 0.95), console)
    assert made.recall < 0.95
    assert "less than the wanted recall of 0.95" in console.file.getvalue()
    assert "index rebuild" in console.file.getvalue()
