"""A collection of Qdrant answers as the index does; tested with its implementation in memory."""

import pickle
import sqlite3
from contextlib import contextmanager
from uuid import UUID

import numpy as np
import pytest
from qdrant_client import QdrantClient, models
from rich.console import Console

import ibc_pyg
from ibc_pyg.cli import run
from ibc_pyg.errors import ConfigError, RunError
from ibc_pyg.retrieval.qdrant import client as client_module
from ibc_pyg.retrieval.qdrant import push as push_module
from ibc_pyg.retrieval.qdrant.client import connected
from ibc_pyg.retrieval.qdrant.push import push
from ibc_pyg.retrieval.qdrant.search import open_collection, search_collection
from ibc_pyg.retrieval.queries import read_queries
from tests.helpers.index_pictures import FINISHED_RUN, save_picture, save_pictures

QUIET = Console(quiet=True)
NAME = "photos"
pytestmark = [
    pytest.mark.filterwarnings("ignore:Payload indexes have no effect"),
    pytest.mark.filterwarnings("ignore:Local mode performs exact"),
]


@pytest.fixture(scope="module")
def embedder():
    return ibc_pyg.load(FINISHED_RUN)


@pytest.fixture
def index(tmp_path, embedder):
    photos = tmp_path / "photos"
    save_pictures(photos, 40)
    save_picture(photos / "none.png", 800)
    copy = photos / "plum" / "copy.png"
    copy.write_bytes((photos / "apple" / "0000.png").read_bytes())
    with ibc_pyg.Index.build(FINISHED_RUN, photos, tmp_path / "index") as index:
        yield index


@pytest.fixture
def client():
    client = QdrantClient(":memory:")
    yield client
    client.close()


@pytest.fixture
def thresholds(client, monkeypatch):
    """The values of `indexing_threshold` that the server is given."""
    seen, update = [], client.update_collection

    def recording(name, **options):
        config = options.get("optimizers_config")
        if config is not None:
            seen.append(config.indexing_threshold)
        return update(name, **options)

    monkeypatch.setattr(client, "update_collection", recording)
    return seen


@pytest.mark.parametrize("where", [None, "apple", ["pear", "plum"], [None], [None, "plum"], "no"])
def test_hits_are_those_of_the_exact_search(index, client, where, tmp_path):
    push(index, client, NAME, console=QUIET)
    queries = read_queries(sorted((tmp_path / "photos").rglob("*.png"))[:9], index.dim, index.model)
    where = None if where is None else {"label": where}
    found = search_collection(client, NAME, queries, 7, where, exact=True)
    for ours, theirs in zip(index.search_queries(queries, 7, where), found, strict=True):
        assert [hit.row for hit in theirs] == [hit.row for hit in ours]
        a, b = ([hit.similarity for hit in hits] for hits in (ours, theirs))
        np.testing.assert_allclose(a, b, atol=1e-5)
        for one, other in zip(ours, theirs, strict=True):
            assert vars(one) | {"similarity": 0} == vars(other) | {"similarity": 0}


def test_least_similarity(index, client):
    push(index, client, NAME, console=QUIET)
    queries = read_queries(index.vectors[:3], index.dim, index.model)
    for hits in search_collection(client, NAME, queries, 40, min_similarity=0.9):
        assert hits
        assert all(hit.similarity >= 0.9 for hit in hits)


def test_a_second_upload_sends_nothing(index, client):
    report = push(index, client, NAME, console=QUIET)
    assert (report.uploaded, report.kept) == (41, 0)
    ids = {UUID(point.id) for point in client.scroll(NAME, limit=100)[0]}
    assert {each.version for each in ids} == {5}
    report = push(index, client, NAME, console=QUIET)
    assert (report.uploaded, report.kept, report.others) == (0, 41, 0)
    assert client.count(NAME, exact=True).count == 41
    assert ids == {UUID(point.id) for point in client.scroll(NAME, limit=100)[0]}


def test_changes_of_the_index_follow(index, client, tmp_path):
    push(index, client, NAME, console=QUIET)
    save_picture(tmp_path / "photos" / "pear" / "new.png", 900)
    (tmp_path / "photos" / "apple" / "0003.png").unlink()
    index.sync()
    report = push(index, client, NAME, console=QUIET)
    assert (report.uploaded, report.kept, report.others) == (1, 40, 1)
    assert client.count(NAME, exact=True).count == 42
    push(index, client, NAME, prune=True, console=QUIET)
    assert client.count(NAME, exact=True).count == 41


@pytest.mark.parametrize("error", [KeyboardInterrupt, ConnectionError("reset by peer")])
def test_an_interrupted_upload_goes_on(index, client, monkeypatch, thresholds, error):
    monkeypatch.setattr(push_module, "CHUNK", 10)
    upload, calls = client.upload_collection, []

    def failing(*arguments, **options):
        calls.append(len(options["ids"]))
        if len(calls) == 3:
            raise error
        return upload(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(client, "upload_collection", failing)
        with pytest.raises((KeyboardInterrupt, RunError), match=r"^$|photos: reset by peer"):
            push(index, client, NAME, console=QUIET)
    assert thresholds == [0, 20_000]
    record, _ = open_collection(client, NAME)
    assert not record.complete
    report = push(index, client, NAME, console=QUIET)
    assert (report.uploaded, report.kept) == (21, 20)
    assert open_collection(client, NAME)[0].complete
    assert thresholds == [0, 20_000] * 2


def test_a_killed_upload_does_not_lose_the_threshold(index, client, monkeypatch, thresholds):
    client.create_collection("other", vectors_config=models.VectorParams(size=3, distance="Dot"))
    info = client.get_collection

    def stored(name):
        found = info(name)
        found.config.optimizer_config.indexing_threshold = thresholds[-1] if thresholds else 777
        return found

    monkeypatch.setattr(client, "get_collection", stored)
    with monkeypatch.context() as patch:  # killed: nothing is restored
        patch.setattr(push_module, "_set_threshold", lambda *_: thresholds.append(0) or 1 / 0)
        with pytest.raises(ZeroDivisionError):
            push(index, client, NAME, console=QUIET)
    assert thresholds[-1] == 0
    push(index, client, NAME, console=QUIET)
    assert thresholds[-1] == 777


def test_another_model_is_refused(index, client, tmp_path):
    push(index, client, NAME, console=QUIET)
    other = ibc_pyg.load(FINISHED_RUN)
    next(other.backbone.parameters()).data.add_(1)
    with pytest.raises(RunError, match=r"was made by .*, not by"):
        open_collection(client, NAME, other)
    photos = tmp_path / "photos"
    with (
        ibc_pyg.Index.build(other, photos, tmp_path / "second") as second,
        pytest.raises(RunError, match=r"collection photos was made by .*, not by"),
    ):
        push(second, client, NAME, console=QUIET)


def test_collections_of_others_are_refused(index, client):
    client.create_collection(NAME, vectors_config=models.VectorParams(size=3, distance="Dot"))
    with pytest.raises(RunError, match="was not made by index push"):
        push(index, client, NAME, console=QUIET)
    with pytest.raises(RunError, match="there is no collection none"):
        open_collection(client, "none")


def test_points_of_others_are_named(index, client):
    push(index, client, NAME, console=QUIET)
    point = models.PointStruct(id=1, vector=index.vectors[0].tolist(), payload={"paths": "x"})
    client.upsert(NAME, [point])
    queries = read_queries(index.vectors[:1], index.dim, index.model)
    with pytest.raises(RunError, match="the point 1 was not made by index push"):
        search_collection(client, NAME, queries, 2)


class Poison:
    def __reduce__(self):
        return (exec, ("raise SystemExit('unpickled')",))


@pytest.mark.parametrize("url", ["{folder}", "path={folder}", "file://{folder}", ":memory:", "x"])
def test_local_folders_are_refused(url, tmp_path, capsys):
    folder = tmp_path / "local" / "collection" / NAME
    folder.mkdir(parents=True)
    with sqlite3.connect(folder / "storage.sqlite") as sql:
        sql.execute("CREATE TABLE points (id TEXT PRIMARY KEY, point BLOB)")
        sql.execute("INSERT INTO points VALUES ('1', ?)", (pickle.dumps(Poison()),))
    url = url.format(folder=tmp_path / "local")
    with pytest.raises(ConfigError, match="must be the URL of a server"), connected(url):
        pass
    picture = save_picture(tmp_path / "q.png", 1)
    assert run(["search", "--qdrant", url, "--collection", NAME, str(picture)]) == 2
    assert "hold pickles" in capsys.readouterr().err


def test_a_client_of_a_folder_is_refused(index, tmp_path):
    client = QdrantClient(path=str(tmp_path / "empty"))
    with pytest.raises(ConfigError, match="holds pickles"):
        push(index, client, NAME, console=QUIET)
    client.close()


def test_a_server_that_is_not_there(index, tmp_path, capsys):
    url = "http://127.0.0.1:9"
    assert run(["index", "push", str(index.path), "--qdrant", url, "--collection", NAME]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") <= 2
    assert "error: http://127.0.0.1:9: " in error


@pytest.mark.parametrize(("server", "warned"), [("1.20.3", False), ("1.15.0", True)])
def test_the_version_of_the_server(client, caplog, monkeypatch, server, warned):
    monkeypatch.setattr(client, "info", lambda: models.VersionInfo(title="", version=server))
    client_module._check_version(client, "1.20.0")
    assert ("may not understand each other" in caplog.text) is warned


def test_the_commands(index, client, tmp_path, capsys, monkeypatch):
    @contextmanager
    def in_memory(url):
        with client_module.explained(url):
            yield client

    monkeypatch.setattr(client_module, "connected", in_memory)
    server = ["--qdrant", "http://localhost:6333", "--collection", NAME]
    query = str(tmp_path / "photos" / "apple" / "0003.png")
    assert run(["search", *server, query]) == 2
    assert "there is no collection photos" in capsys.readouterr().err
    assert run(["index", "push", str(index.path), *server]) == 0
    assert "41 points sent, 0 were there" in capsys.readouterr().out
    results = tmp_path / "hits.json"
    assert run(["search", *server, query, query, "-k", "3", "--exact", "--json", str(results)]) == 0
    assert "identical" in capsys.readouterr().out
    theirs = results.read_text()
    assert run(["search", str(index.path), query, query, "-k", "3", "--json", str(results)]) == 0
    assert theirs.count("0003.png") == results.read_text().count("0003.png") == 4
    for arguments, message in (
        (["search", query], "name an index or a run"),
        (["search", str(index.path), query, "--exact"], "--exact goes with --qdrant"),
        (["search", *server[:2], query], "needs the name of a collection"),
        (["search", *server, query, "--refine", "aqe"], "--refine needs an index"),
        (["search", *server, query, "--where", "x=1"], "--where takes label=CLASS"),
    ):
        assert run(arguments) == 2
        assert message in capsys.readouterr().err
