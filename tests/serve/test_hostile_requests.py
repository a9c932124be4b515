"""Requests that are wrong or hostile: a status of 4xx with a sentence, and the server lives on."""

import gzip
import io
import json
import struct
import time
import zlib

import numpy as np
import pytest
from PIL import Image

from ibc_pyg.serve import Limits
from tests.helpers.served import served
from tests.serve.test_serve import ask

LIMITS = Limits(body=2**20, seconds=3.0)
TOKEN = "a-token-of-some-length"


@pytest.fixture(scope="module")
def server(pictures_index, tmp_path_factory):
    with served(pictures_index, limits=LIMITS) as server:
        yield server


def picture(kind="PNG", side=32, mode="RGB"):
    out = io.BytesIO()
    Image.new(mode, (side, side), 7).save(out, kind)
    return out.getvalue()


def png_header(width, height, data=b"\x00"):
    def chunk(name, content):
        check = zlib.crc32(name + content)
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", check)

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
BAD_BODIES = {
    "empty": (b"", 400),
    "text": (b"hello, world", 415),
    "form": (b"--x\r\nContent-Disposition: form-data; name=file\r\n\r\n" + picture(), 415),
    "html": (b"<!doctype html><script>alert(1)</script>", 415),
    "svg": (SVG, 415),
    "svg with declaration": (b"<?xml version='1.0'?>" + SVG, 415),
    "pdf": (b"%PDF-1.7\n" + b"x" * 100, 415),
    "zip": (b"PK\x03\x04" + b"x" * 100, 415),
    "gzip": (gzip.compress(picture()), 415),
    "tar": (b"a" * 257 + b"ustar\x00" + b"0" * 200, 415),
    "elf": (b"\x7fELF" + b"\x00" * 60, 415),
    "pickle": (b"\x80\x04\x95\x00\x00\x00\x00\x00\x00\x00\x00c__main__\nevil\n", 415),
    "numpy": (b"\x93NUMPY\x01\x00" + b"x" * 64, 415),
    "json": (b'{"vectors": []}', 415),
    "video": (b"\x1a\x45\xdf\xa3" + b"x" * 64, 415),
    "mp4": (b"\x00\x00\x00\x18ftypmp42" + b"\x00" * 64, 422),
    "eps": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", 415),
    "icon": (b"\x00\x00\x01\x00\x01\x00" + b"x" * 64, 415),
    "one byte": (b"\xff", 415),
    "jpeg magic alone": (b"\xff\xd8\xff", 422),
    "png magic alone": (b"\x89PNG\r\n\x1a\n", 422),
    "gif magic alone": (b"GIF89a", 422),
    "webp magic alone": (b"RIFF\x00\x00\x00\x00WEBP", 422),
    "bmp magic alone": (b"BM", 422),
    "tiff magic alone": (b"II*\x00", 422),
    "tiff loop": (b"II*\x00\x08\x00\x00\x00" + b"\x00\x00\x08\x00\x00\x00", 422),
    "truncated jpeg": (picture("JPEG", 300)[:700], 422),
    "truncated png": (png_header(64, 64, b"\x00" * 10), 422),
    "png of 10^10 pixels": (png_header(100_000, 100_000), 422),
    "png of 60,000 x 1": (png_header(60_000, 1, b"\x00" * 180_001), 422),
    "png of no pixels": (png_header(0, 0), 422),
    "jpeg then html": (picture("JPEG")[:20] + b"<html><script>alert(1)</script>", 422),
    "random after magic": (b"\xff\xd8\xff\xe0" + np.random.default_rng(0).bytes(5000), 422),
    "too large": (b"\xff\xd8\xff" + b"x" * 2**20, 413),
    "seven megabytes": (b"\xff\xd8\xff" + b"x" * (7 * 2**20), 413),
}


@pytest.mark.parametrize("name", BAD_BODIES)
@pytest.mark.parametrize("kind", ["image/jpeg", "text/html"])
def test_bad_uploads(server, name, kind):
    body, status = BAD_BODIES[name]
    answer, found = ask(server, "/api/search", body, "POST", **{"Content-Type": kind})
    assert answer.status == status, found
    assert len(found["error"]) > 20
    assert "\n" not in found["error"]
    assert ask(server, "/health")[0].status == 200


def test_a_form_is_told_what_to_send(server):
    body = BAD_BODIES["form"][0]
    form = ask(server, "/api/search", body, "POST")[1]["error"]
    assert "form" in form
    assert "--data-binary" in form
    answer, found = ask(server, "/api/vectors", b'{"vectors": []}', "POST")
    assert answer.status == 422
    assert "Content-Type: application/json" in found["error"]


def test_an_unknown_class_is_named(server):
    json_body = b'{"vectors": [' + str([0.5] * 16).encode() + b'], "label": ["aple"]}'
    kind = {"Content-Type": "application/json"}
    asked = [
        ask(server, "/api/search?label=apple&label=aple", picture(), "POST"),
        ask(server, "/api/vectors", json_body, "POST", **kind),
        ask(server, "/api/similar/0?label=aple"),
    ]
    wanted = "label: no picture has the class 'aple'; did you mean apple"
    assert [answer.status for answer, _ in asked] == [422] * 3
    assert all(found["error"].startswith(wanted) for _, found in asked)


GOOD = picture()
HEAD = b"POST /api/search HTTP/1.1\r\nHost: localhost\r\n"
RAW = {
    "no length, no body": (HEAD + b"\r\n", 400),
    "shorter than it says": (HEAD + b"Content-Length: 9999\r\n\r\n" + GOOD, 408),
    "length of letters": (HEAD + b"Content-Length: lots\r\n\r\n" + GOOD, 400),
    "negative length": (HEAD + b"Content-Length: -1\r\n\r\n" + GOOD, 400),
    "two lengths": (HEAD + b"Content-Length: 5\r\nContent-Length: 99\r\n\r\nhello", 400),
    "length of a terabyte": (HEAD + b"Content-Length: 1099511627776\r\n\r\n", 413),
    "length and chunks": (
        HEAD + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "endless chunks": (
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"10000\r\n" * 1 + b"x" * 65536, 408),
    "too many chunks": (
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
        + (b"10000\r\n" + b"\xff\xd8\xff" + b"x" * 65533 + b"\r\n") * 17, 413),
    "gzip body": (
        HEAD + b"Content-Encoding: gzip\r\nContent-Length: 20\r\n\r\n" + b"\x1f\x8b" * 10, 415),
    "no host": (b"GET /health HTTP/1.1\r\nConnection: close\r\n\r\n", 400),
    "evil host": (b"GET / HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n", 400),
    "host with port of evil": (
        b"GET / HTTP/1.1\r\nHost: evil.example:8000\r\nConnection: close\r\n\r\n", 400),
    "two hosts": (
        b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n"
        b"Connection: close\r\n\r\n", 400),
    "path tricks": (
        b"GET /../../etc/passwd HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", 404),
    "encoded path tricks": (
        b"GET /api/image/..%2f..%2fetc%2fpasswd HTTP/1.1\r\nHost: localhost\r\n"
        b"Connection: close\r\n\r\n", 404),
    "static path tricks": (
        b"GET /static/../app.py HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", 404),
    "another method": (
        b"DELETE /api/search HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", 405),
    "not http": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
}  # fmt: skip


@pytest.mark.parametrize("name", RAW)
def test_raw_requests(server, name):
    request, status = RAW[name]
    if b"onnection: close" not in request:
        request = request.replace(
            b"Host: localhost\r\n", b"Host: localhost\r\nConnection: close\r\n"
        )
    answer = server.raw(request)
    assert int(answer.split(b" ")[1]) == status, answer
    assert ask(server, "/health")[0].status == 200


BAD_QUERIES = [
    ("/api/search?k=0", 422), ("/api/search?k=-1", 422), ("/api/search?k=1001", 422),
    ("/api/search?k=many", 422), ("/api/search?k=1e3", 422),
    ("/api/similar/60", 404), ("/api/similar/-1", 422), ("/api/similar/x", 422),
    ("/api/similar/99999999999999999999999", 422), ("/api/image/60", 404),
    ("/api/image/-1", 422), ("/api/image/0?side=9", 422), ("/api/image/0/../../x", 404),
    ("/nothing", 404), ("/docs", 404), ("/api", 404),
]  # fmt: skip


@pytest.mark.parametrize(("address", "status"), BAD_QUERIES)
def test_bad_addresses(server, address, status):
    body = GOOD if "search" in address else None
    answer, found = ask(server, address, body)
    assert answer.status == status, found
    assert len(found["error"]) > 15


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("", "required"),
        ("[", "JSON"),
        ('{"vectors": []}', "at least 1"),
        ('{"vectors": [[1, 2]]}', "each vector must have"),
        ('{"vectors": [[NaN]]}', "finite number"),
        ('{"vectors": [[1e999]]}', "finite number"),
        (json.dumps({"vectors": [[1e300] * 16]}), "too large for float32"),
        (json.dumps({"vectors": [[0.0] * 16] * 65}), "at most 64"),
        ('{"vectors": "all"}', "valid list"),
        ('{"vectors": [[1]], "k": 0}', "greater than or equal to 1"),
        ("[" * 100_000, ""),
    ],
)
def test_bad_vectors(server, body, says):
    answer, found = ask(
        server, "/api/vectors", body, "POST", **{"Content-Type": "application/json"}
    )
    assert answer.status in (400, 422), found
    assert says in found["error"]
    assert ask(server, "/health")[0].status == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost.evil.example"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_pages_of_other_sites_are_refused(server, headers):
    answer, found = ask(server, "/api/search", GOOD, **headers)
    assert (answer.status, "another site" in found["error"]) == (403, True)


def test_pages_of_the_server_are_not(server):
    for origin in ("http://localhost", f"http://127.0.0.1:{server.port}", "http://[::1]:80"):
        assert ask(server, "/api/search", GOOD, Origin=origin)[0].status == 200


def test_a_slow_sender_is_cut_off(server):
    start = time.monotonic()
    answer = server.raw(
        HEAD + b"Connection: close\r\nContent-Length: 500\r\n\r\n" + GOOD[:50], wait=20
    )
    assert b" 408 " in answer.splitlines()[0]
    assert LIMITS.seconds - 0.5 < time.monotonic() - start < 15


def test_a_token(pictures_index):
    with served(pictures_index, token=TOKEN) as server:
        assert ask(server, "/health")[0].status == 200
        for address in ("/", "/api/about", "/metrics", "/openapi.json", "/?token=wrong"):
            answer, found = ask(server, address)
            assert (answer.status, "token" in found["error"]) == (401, True)
        bearer = {"Authorization": f"Bearer {TOKEN}"}
        assert ask(server, "/api/about", **bearer)[0].status == 200
        assert ask(server, "/api/about", Authorization=f"Bearer {TOKEN}x")[0].status == 401
        assert ask(server, "/api/about", Authorization=TOKEN)[0].status == 401
        answer, _ = ask(server, f"/?token={TOKEN}")
        assert (answer.status, answer.getheader("Location")) == (303, "/")
        cookie = answer.getheader("Set-Cookie")
        assert "HttpOnly" in cookie
        assert "SameSite=Strict" in cookie
        assert ask(server, "/", Cookie=cookie.partition(";")[0])[0].status == 200
        assert ask(server, "/", Cookie="ibc_pyg_token=\u00e9")[0].status == 401


def test_bodies_in_memory_are_bounded(pictures_index):
    limits = Limits(body=2**20, pending=2**19, seconds=5)
    with served(pictures_index, limits=limits) as server:
        answer, found = ask(server, "/api/search", b"\xff\xd8\xff" + b"x" * 2**19)
        assert (answer.status, answer.getheader("Retry-After")) == (503, "1"), found
        assert ask(server, "/api/search", GOOD)[0].status == 200


def test_uploads_leave_nothing_behind(server, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    for _ in range(3):
        ask(server, "/api/search", picture(side=200))
    assert list(tmp_path.iterdir()) == []
