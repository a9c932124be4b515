import contextlib
import hashlib
import http.server
import re
import shutil
import threading
import zipfile
from collections import namedtuple
from dataclasses import dataclass, field

import pytest

from ibc_pyg.data.fetching import fetch as fetch_module
from ibc_pyg.data.fetching.download import INSTRUCTIONS, REMOTES, download
from ibc_pyg.data.fetching.fetch import Remote, fetch
from ibc_pyg.data.registry import DATASETS
from ibc_pyg.data.sample import make_sample
from ibc_pyg.data.sets import grocery_store
from ibc_pyg.data.table import SplitSizes
from ibc_pyg.errors import ConfigError, DatasetError

DATA = bytes(range(256)) * 20_000  # 5 MB: several blocks


@dataclass
class Served:
    """What the test server has and does; changed by the tests."""

    url: str = ""
    data: bytes = DATA
    etag: str = '"v1"'
    ranges: bool = True
    length: bool = True
    breaks: list[int] = field(default_factory=list)  # bytes after which to hang up, per request
    status: int = 200
    asked: list[str | None] = field(default_factory=list)


@pytest.fixture
def served():
    state = Served()

    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def do_GET(self):
            wanted = self.headers.get("Range")
            state.asked.append(wanted)
            if state.status != 200:
                self.send_error(state.status)
                return
            start, changed = 0, self.headers.get("If-Range", state.etag) != state.etag
            if wanted and state.ranges and not changed:
                start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1])
                if start >= len(state.data):
                    self.send_error(416)
                    return
            body = state.data[start:]
            self.send_response(206 if start else 200)
            if start:
                whole = len(state.data)
                self.send_header("Content-Range", f"bytes {start}-{whole - 1}/{whole}")
            if state.length:
                self.send_header("Content-Length", str(len(body)))
            self.send_header("ETag", state.etag)
            self.end_headers()
            with contextlib.suppress(ConnectionError):  # a client that has seen enough hangs up
                self.wfile.write(body[: state.breaks.pop(0)] if state.breaks else body)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_port}/file.bin"
    yield state
    server.shutdown()
    server.server_close()
    thread.join()


def remote(served, **options) -> Remote:
    known = {
        "size": len(DATA),
        "digest": "md5:" + hashlib.md5(DATA).hexdigest(),
        "source": "a list",
    }
    return Remote(served.url, "file.bin", **{**known, **options})


def left(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_plain_transfer(served, tmp_path):
    calls = []
    file = fetch(remote(served), tmp_path, progress=lambda *call: calls.append(call))
    assert file.read_bytes() == DATA
    assert calls[-1] == ("downloading file.bin", len(DATA), len(DATA))
    assert left(tmp_path) == ["file.bin"]
    fetch(remote(served), tmp_path)
    assert served.asked == [None]  # what is there is not fetched again


def test_broken_transfers_are_continued(served, tmp_path):
    served.breaks = [2_000_000, 1_500_000, 0]
    file = fetch(remote(served), tmp_path, pause_s=0)
    assert file.read_bytes() == DATA
    assert served.asked[0] is None
    starts = [int(wanted[6:-1]) for wanted in served.asked[1:]]
    assert starts == [2_000_000, 3_500_000, 3_500_000]


def test_a_second_run_continues(served, tmp_path):
    served.breaks = [1_000_000, 0, 0]
    with pytest.raises(DatasetError, match="run the command again to resume"):
        fetch(remote(served), tmp_path, attempts=2, pause_s=0)
    assert (tmp_path / "file.bin.part").stat().st_size == 1_000_000
    served.asked.clear()
    assert fetch(remote(served), tmp_path).read_bytes() == DATA
    assert served.asked == ["bytes=1000000-"]


def test_a_server_without_ranges_starts_anew(served, tmp_path):
    served.ranges, served.breaks = False, [3_000_000]
    assert fetch(remote(served), tmp_path, pause_s=0).read_bytes() == DATA


def test_a_changed_file_starts_anew(served, tmp_path):
    served.breaks = [3_000_000, 0]
    changed = DATA[::-1]
    with pytest.raises(DatasetError):
        fetch(remote(served), tmp_path, attempts=1, pause_s=0)
    served.data, served.etag, served.breaks = changed, '"v2"', []
    digest = "sha256:" + hashlib.sha256(changed).hexdigest()
    file = fetch(remote(served, size=None, digest=digest), tmp_path)
    assert file.read_bytes() == changed


@pytest.mark.parametrize("extra", [0, 5])
def test_a_part_that_is_whole_or_too_long(served, tmp_path, extra):
    (tmp_path / "file.bin.part").write_bytes(DATA + bytes(extra))
    assert fetch(remote(served), tmp_path, pause_s=0).read_bytes() == DATA


def test_without_a_length_the_size_decides(served, tmp_path):
    served.length, served.breaks = False, [1_000_000]
    assert fetch(remote(served), tmp_path, pause_s=0).read_bytes() == DATA


def test_another_size_is_refused_before_it_is_fetched(served, tmp_path):
    with pytest.raises(DatasetError, match=r"bytes offered, but 7 in a list"):
        fetch(remote(served, size=7), tmp_path)
    assert "file.bin" not in left(tmp_path)


def test_another_digest_is_refused_and_removed(served, tmp_path):
    served.data = DATA[:-1] + b"x"
    with pytest.raises(DatasetError, match=r"md5 [0-9a-f]+, but [0-9a-f]+ in a list"):
        fetch(remote(served), tmp_path)
    assert left(tmp_path) == []


@pytest.mark.parametrize("status", [403, 404, 410])
def test_a_refusal_is_not_tried_again(served, tmp_path, status):
    served.status = status
    with pytest.raises(DatasetError, match=f"cannot be downloaded: HTTP Error {status}"):
        fetch(remote(served), tmp_path, pause_s=0)
    assert len(served.asked) == 1


def test_a_busy_server_is_tried_again(served, tmp_path):
    served.status = 503
    with pytest.raises(DatasetError, match="503"):
        fetch(remote(served), tmp_path, attempts=3, pause_s=0)
    assert len(served.asked) == 3


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://127.0.0.1/x"])
def test_other_kinds_of_address_are_refused(tmp_path, url):
    with pytest.raises(DatasetError, match="only http and https"):
        fetch(Remote(url, "x"), tmp_path)


def test_a_full_disk_is_seen_first(served, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 0, 10**8))
    with pytest.raises(DatasetError, match=r"1\.0 GiB are needed for file\.bin, 0\.1 GiB are free"):
        fetch(remote(served, unpacked=2**30), tmp_path)
    assert not (tmp_path / "file.bin.part").exists()


def test_a_whole_data_set(served, tmp_path, monkeypatch):
    monkeypatch.setattr(grocery_store, "SIZES", SplitSizes(2, 6, 2, 6, 6, 6))
    source = make_sample("grocery_store", tmp_path / "source", classes=2, images=3)
    archive = tmp_path / "x.zip"
    with zipfile.ZipFile(archive, "w") as pack:
        for file in source.rglob("*"):
            pack.write(file, "GroceryStoreDataset-master/dataset/" + str(file.relative_to(source)))
    served.data = archive.read_bytes()
    digest = "sha256:" + hashlib.sha256(served.data).hexdigest()
    remotes = {"grocery_store": (Remote(served.url, "x.zip", digest=digest, unpacked=1),)}
    root = tmp_path / "root ü"
    report = download("grocery_store", root, remotes=remotes)
    assert report.complete
    assert report.fetched == (root / "x.zip",)
    assert "6 training images of 2 classes" in report.lines()[0]
    again = download("grocery_store", root, remotes=remotes)
    assert again.complete
    assert len(served.asked) == 1


def test_every_data_set_can_be_fetched_or_explained(tmp_path):
    assert set(REMOTES) | set(INSTRUCTIONS) == set(DATASETS)
    assert not set(REMOTES) & set(INSTRUCTIONS)
    for name in INSTRUCTIONS:
        report = download(name, tmp_path / "nothing")
        assert not report.complete
        assert report.lines()
    assert not (tmp_path / "nothing").exists()


def test_published_files_are_named_with_their_source():
    for remotes in REMOTES.values():
        for entry in remotes:
            assert entry.url.startswith(("https://", "http://"))
            assert (entry.digest is None) == (entry.size is None) == (not entry.source)
            if entry.digest is None:
                assert re.search(r"https://.*/[0-9a-f]{40}\.", entry.url), "not a fixed commit"


def test_the_omniglot_archives_are_the_published_ones(shared):
    for entry in REMOTES["omniglot"]:
        fetch_module.check(shared / "data" / "omniglot_small" / entry.name, entry)


def test_an_unknown_name(tmp_path):
    with pytest.raises(ConfigError, match=r"data\.name"):
        download("imagenet", tmp_path)


def test_without_a_published_digest_the_first_one_is_kept(served, tmp_path, monkeypatch):
    monkeypatch.setattr(fetch_module, "_check_scheme", lambda remote, url: None)
    unknown = remote(served, size=None, digest=None)
    file = fetch(unknown, tmp_path)
    assert left(tmp_path) == ["file.bin", "file.bin.sha256"]
    assert (tmp_path / "file.bin.sha256").read_text() == (
        f"{hashlib.sha256(DATA).hexdigest()}  file.bin\n"
    )
    fetch(unknown, tmp_path)
    file.write_bytes(DATA + b"x")
    with pytest.raises(DatasetError, match="not the one of the first download"):
        fetch(unknown, tmp_path)
    file.unlink()
    served.data = DATA[::-1]
    with pytest.raises(DatasetError, match="not the one of the first download"):
        fetch(unknown, tmp_path)
    assert left(tmp_path) == ["file.bin.sha256"]
    served.data = DATA
    assert fetch(unknown, tmp_path).read_bytes() == DATA


def test_http_without_a_digest_is_refused(served, tmp_path):
    with pytest.raises(DatasetError, match="only https addresses"):
        fetch(remote(served, digest=None), tmp_path)
    assert served.asked == []


def test_more_than_announced_is_not_kept(served, tmp_path, monkeypatch):
    served.length = False
    monkeypatch.setattr(fetch_module, "UNKNOWN_SIZE", 3 * 2**20)
    with pytest.raises(DatasetError, match="more than 3,145,728 bytes came"):
        fetch(remote(served, size=None), tmp_path, pause_s=0)
    assert (tmp_path / "file.bin.part").stat().st_size <= 5 * 2**20
    served.length = True
    with pytest.raises(DatasetError, match="bytes offered, more than expected"):
        fetch(remote(served, size=None), tmp_path, pause_s=0)
