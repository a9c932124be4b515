"""Answers of the server against those of the index, and its behaviour under load and change."""

import concurrent.futures
import http.client
import json
import shutil
import time
from pathlib import Path
from urllib.parse import urlencode

import pytest

import ibc_pyg
from ibc_pyg.serve import Limits
from ibc_pyg.serve.searches import Searches
from tests.helpers.index_pictures import FINISHED_RUN, save_picture
from tests.helpers.served import served


def ask(server, address, body=None, method=None, **headers):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    connection.request(method or ("GET" if body is None else "POST"), address, body, headers)
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    kind = answer.getheader("Content-Type", "")
    return answer, json.loads(content) if kind == "application/json" else content


@pytest.fixture(scope="module")
def server(pictures_index):
    with served(pictures_index) as server:
        yield server


def test_answers_are_those_of_the_index(server, pictures_index):
    files = [entry.path for entry in pictures_index.catalogue]
    root = Path(pictures_index.sources[0].root)
    for file in files[:30]:
        content = (root / file).read_bytes()
        _, found = ask(server, "/api/search?k=7", content)
        wanted = pictures_index.search(content, k=7)
        assert [hit["path"] for hit in found["hits"]] == [hit.path for hit in wanted]
        assert [hit["similarity"] for hit in found["hits"]] == pytest.approx(
            [hit.similarity for hit in wanted], abs=1e-6
        )
        assert [hit["strangers"] for hit in found["hits"]] == pytest.approx(
            [hit.strangers for hit in wanted], abs=1e-3
        )
        assert found["hits"][0]["identical"]
        assert found["vote"]["label"] in {"apple", "pear", "plum"}


def test_filters_neighbours_and_vectors(server, pictures_index):
    query = urlencode([("k", 50), ("label", "apple"), ("label", "plum")])
    picture = Path(pictures_index.search(pictures_index.vectors[3], k=1)[0].path).read_bytes()
    _, found = ask(server, f"/api/search?{query}", picture)
    assert {hit["label"] for hit in found["hits"]} == {"apple", "plum"}
    assert len(found["hits"]) == 40
    _, near = ask(server, "/api/similar/5?k=4")
    wanted = [hit for hit in pictures_index.search(pictures_index.vectors[5], k=5) if hit.row != 5]
    assert [hit["row"] for hit in near["hits"]] == [hit.row for hit in wanted[:4]]
    assert [hit["rank"] for hit in near["hits"]] == [1, 2, 3, 4]
    vectors = pictures_index.vectors[:3].tolist()
    body = json.dumps({"vectors": vectors, "k": 2, "label": ["pear"]})
    _, found = ask(server, "/api/vectors", body, **{"Content-Type": "application/json"})
    lists = pictures_index.search(pictures_index.vectors[:3], k=2, where={"label": "pear"})
    assert [[hit["row"] for hit in each["hits"]] for each in found["results"]] == [
        [hit.row for hit in hits] for hits in lists
    ]


def test_pictures_page_health_and_metrics(server, pictures_index):
    answer, content = ask(server, "/api/image/4")
    assert (answer.getheader("Content-Type"), content[:3]) == ("image/jpeg", b"\xff\xd8\xff")
    for address, kind in (("/", "text/html"), ("/app.js", "text/javascript"),
                          ("/style.css", "text/css")):  # fmt: skip
        answer, content = ask(server, address)
        assert answer.getheader("Content-Type").startswith(kind)
        assert "default-src 'self'" in answer.getheader("Content-Security-Policy")
        assert answer.getheader("X-Content-Type-Options") == "nosniff"
        assert answer.getheader("Access-Control-Allow-Origin") is None
        assert b"://" not in content
        assert b'="//' not in content
    assert ask(server, "/health")[1] == {"status": "ok", "pictures": 60}
    about = ask(server, "/api/about")[1]
    assert about["labels"] == ["apple", "pear", "plum"]
    assert about["calibrated"]
    text = ask(server, "/metrics")[1].decode()
    assert 'ibc_pyg_requests_total{route="/health",status="200"}' in text
    assert 'quantile="0.99"' in text
    assert "ibc_pyg_queue_length 0" in text


def test_the_interface_is_valid_and_a_client_made_from_it_works(server, pictures_index):
    _, document = ask(server, "/openapi.json")
    validator = pytest.importorskip("openapi_spec_validator")
    validator.validate(document)
    schemas = document["components"]["schemas"]
    called = set()
    for address, methods in document["paths"].items():
        for method, operation in methods.items():
            given = {"row": 2, "side": 256, "k": 3, "label": "apple"}
            named = operation.get("parameters", [])
            path = address
            for each in named:
                assert each["name"] in given
                if each["in"] == "path":
                    path = path.replace(f"{{{each['name']}}}", str(given[each["name"]]))
            query = urlencode({p["name"]: given[p["name"]] for p in named if p["in"] == "query"})
            body, headers = None, {}
            if "requestBody" in operation:
                kind = next(iter(operation["requestBody"]["content"]))
                headers["Content-Type"] = kind
                body = next((pictures_index.path.parent / "photos").rglob("*.png")).read_bytes()
                if kind == "application/json":
                    body = json.dumps({"vectors": pictures_index.vectors[:1].tolist()})
            answer, found = ask(server, f"{path}?{query}", body, method.upper(), **headers)
            assert answer.status == 200, operation["operationId"]
            declared = operation["responses"]["200"].get("content", {})
            if "application/json" in declared:
                name = declared["application/json"]["schema"]["$ref"].rpartition("/")[2]
                assert set(schemas[name]["required"]) <= set(found)
            called.add(operation["operationId"])
    assert called == {"search", "vectors", "similar", "image", "about", "health", "metrics"}


def test_a_sync_is_seen_and_disturbs_nobody(tmp_path, pictures_index):
    shutil.copytree(pictures_index.path.parent / "photos", tmp_path / "photos")
    new = tmp_path / "photos" / "quince" / "new.png"
    with ibc_pyg.Index.build(FINISHED_RUN, tmp_path / "photos", tmp_path / "index") as index:
        content = save_picture(tmp_path / "new.png", 999).read_bytes()
        with served(index) as server, concurrent.futures.ThreadPoolExecutor(4) as pool:
            asked = [pool.submit(ask, server, "/api/search?k=3", content) for _ in range(20)]
            save_picture(new, 999)
            with ibc_pyg.Index.open(tmp_path / "index") as writer:
                assert writer.sync().added == 1
            asked += [pool.submit(ask, server, "/api/search?k=3", content) for _ in range(20)]
            answers = [each.result() for each in asked]
            assert {answer.status for answer, _ in answers} == {200}
            last = answers[-1][1]["hits"][0]
            assert (last["identical"], last["label"]) == (True, "quince")
            about = ask(server, "/api/about")[1]
            assert (about["pictures"], about["labels"][-1]) == (61, "quince")


def test_many_clients_get_answers_or_are_told_to_wait(pictures_index, monkeypatch):
    slow = Searches._embed_and_search

    def slowly(self, searches):
        time.sleep(0.05)
        return slow(self, searches)

    monkeypatch.setattr(Searches, "_embed_and_search", slowly)
    content = next((pictures_index.path.parent / "photos").rglob("*.png")).read_bytes()
    limits = Limits(queue=4, batch=2)
    with (
        served(pictures_index, limits=limits) as server,
        concurrent.futures.ThreadPoolExecutor(32) as pool,
    ):
        answers = list(pool.map(lambda _: ask(server, "/api/search", content), range(96)))
        statuses = {answer.status for answer, _ in answers}
        assert statuses == {200, 503}
        for answer, found in answers:
            if answer.status == 503:
                assert answer.getheader("Retry-After") == "1"
                assert "try again" in found["error"]
        assert ask(server, "/api/search", content)[0].status == 200


def test_a_batch_answers_each_request_with_its_own_hits(pictures_index):
    files = sorted((pictures_index.path.parent / "photos").rglob("*.png"))
    limits = Limits(gather=0.2)
    with (
        served(pictures_index, limits=limits) as server,
        concurrent.futures.ThreadPoolExecutor(16) as pool,
    ):
        found = pool.map(lambda file: ask(server, "/api/search?k=1", file.read_bytes())[1], files)
        assert [Path(each["hits"][0]["path"]) for each in found] == files
        text = ask(server, "/metrics")[1].decode()
        batches = int(text.split("\nibc_pyg_batches_total ")[1].split()[0])
        assert batches < len(files) / 2
