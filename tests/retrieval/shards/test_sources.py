"""Tar files and URLs give the index that the same pictures in a folder give."""

import io
import json
import tarfile

import fsspec
import numpy as np
import pytest
import webdataset
from moto.server import ThreadedMotoServer
from rich.console import Console

import ibc_pyg
from ibc_pyg.errors import ConfigError, DatasetError, RunError
from ibc_pyg.retrieval.shards import urls
from ibc_pyg.retrieval.shards.job import plan_job
from ibc_pyg.retrieval.shards.merge import merge_job
from ibc_pyg.retrieval.shards.share import Share
from ibc_pyg.retrieval.shards.tars import read_tar
from ibc_pyg.retrieval.shards.work import work_on
from tests.helpers.index_pictures import FINISHED_RUN, save_pictures

QUIET = Console(quiet=True)


@pytest.fixture(scope="module")
def embedder():
    return ibc_pyg.load(FINISHED_RUN)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    photos = tmp_path_factory.mktemp("sources") / "photos"
    save_pictures(photos, 20)
    (photos / "pear" / "broken.jpg").write_bytes(b"broken")
    (photos / "list.csv").write_text(
        "path,label,split\n"
        + "".join(
            f"{each.relative_to(photos).as_posix()},{each.parent.name},train\n"
            for each in sorted(photos.rglob("*.png"))
        )
    )
    return photos


@pytest.fixture
def memory(photos):
    system = fsspec.filesystem("memory")
    system.put(str(photos), "/bucket/photos", recursive=True)
    system.pipe("/bucket/photos/.hidden/x.png", b"")
    yield "memory://bucket/photos"
    system.rm("/bucket", recursive=True)


def made(embedder, images, folder, shards=3, **options):
    job = plan_job(FINISHED_RUN, images, folder / "job", shards, batch_size=4, **options)
    work_on(job, embedder, Share(), QUIET)
    merge_job(job, folder / "index", console=QUIET)
    return ibc_pyg.Index.open(folder / "index")


def by_content(index):
    """Class and vector of each content."""
    return {
        each.sha256: (each.label, index.vectors[each.row].tobytes()) for each in index.catalogue
    }


@pytest.fixture
def from_folder(photos, embedder, tmp_path):
    with made(embedder, photos, tmp_path / "folder") as index:
        yield by_content(index)


def test_a_folder_at_a_url(memory, embedder, tmp_path, from_folder, photos):
    with made(embedder, memory, tmp_path) as index:
        assert by_content(index) == from_folder
        assert [each.path for each in index.skipped] == ["pear/broken.jpg"]
        assert index.verify() == []
        hit = index.search(photos / "apple" / "0003.png", k=1)[0]
        assert (hit.path, hit.label) == (f"{memory}/apple/0003.png", "apple")
        assert hit.identical
        with pytest.raises(DatasetError, match="plan a new job"):
            index.sync()
        other = ibc_pyg.load(FINISHED_RUN)
        next(other.backbone.parameters()).data.add_(1)
        with pytest.raises(RunError, match="plan a job with the other model"):
            ibc_pyg.Index.open(index.path, other).sync(reembed=True)


def test_a_list_at_a_url(memory, embedder, tmp_path, from_folder):
    with made(embedder, f"{memory}/list.csv", tmp_path, part="train") as index:
        found, wanted = by_content(index), from_folder
        assert {key: label for key, (label, _) in found.items()} == {
            key: label for key, (label, _) in wanted.items()
        }
        vectors = [
            np.frombuffer(b"".join(each[key][1] for key in sorted(wanted)), np.float32)
            for each in (found, wanted)
        ]
        np.testing.assert_allclose(*vectors, atol=1e-6)  # other batches, because none is skipped


@pytest.mark.parametrize("cell", ["../x.png", "/etc/x.png"])
def test_a_list_at_a_url_stays_in_its_folder(memory, tmp_path, cell):
    fsspec.filesystem("memory").pipe("/bucket/photos/bad.csv", f"path,label\n{cell},a\n".encode())
    with pytest.raises(DatasetError, match="leads out of its folder"):
        plan_job(FINISHED_RUN, f"{memory}/bad.csv", tmp_path / "job", 1)


def test_a_server_that_fails_stops_the_worker(memory, embedder, tmp_path, monkeypatch):
    monkeypatch.setattr(urls, "_WAIT", 0)
    job = plan_job(FINISHED_RUN, memory, tmp_path / "job", 2)
    system, calls = type(fsspec.filesystem("memory")), []
    whole = system.cat_file

    def failing(self, path, *args, **options):
        calls.append(path)
        if "0003" in path and calls.count(path) < fails:
            raise ConnectionError("reset by peer")
        return whole(self, path, *args, **options)

    monkeypatch.setattr(system, "cat_file", failing)
    fails = 3
    assert work_on(job, embedder, Share(), QUIET).done == 2  # the third attempt succeeds
    fails = 100
    for shard in range(2):
        job.part_file(shard).unlink()
    with pytest.raises(RunError, match=r"0003.png cannot be read: reset by peer"):
        work_on(job, embedder, Share(), QUIET)
    assert not job.part_file(0).exists()
    fails = 0
    assert work_on(job, embedder, Share(), QUIET).done == 2


@pytest.mark.parametrize("url", ["simplecache::s3://a/b", "reference://x", "nosuch://a/b"])
def test_urls_that_are_not_read(url, tmp_path):
    with pytest.raises(DatasetError, match=r"not read|cannot be opened"):
        plan_job(FINISHED_RUN, url, tmp_path / "job", 1)


@pytest.fixture
def tars(photos, tmp_path):
    """Three tar files in the layout of webdataset, and what webdataset reads from them."""
    folder = tmp_path / "tars"
    folder.mkdir()
    files = sorted([*photos.rglob("*.png"), *photos.rglob("*.jpg")])
    for shard in range(3):
        with webdataset.TarWriter(str(folder / f"train-{shard:03d}.tar")) as writer:
            for number, file in enumerate(files[shard::3]):
                name = file.parent.name
                label = {"cls": name} if number % 2 else {"json": {"label": name}}
                picture = {file.suffix[1:]: file.read_bytes()}
                writer.write({"__key__": f"{shard}/{number:04d}", **picture, **label})
    return folder


@pytest.mark.parametrize("pattern", ["train-*.tar", "train-{000..002}.tar"])
def test_tar_files(tars, embedder, tmp_path, from_folder, pattern, memory):
    for number, where in enumerate((str(tars), "memory://bucket/tars")):
        fsspec.filesystem("memory").put(str(tars), "/bucket/tars", recursive=True)
        with made(embedder, f"{where}/{pattern}", tmp_path / str(number)) as index:
            assert {key: label for key, (label, _) in by_content(index).items()} == {
                key: label for key, (label, _) in from_folder.items()
            }
            assert len(index.skipped) == 1
            paths = [each.path for each in index.catalogue]
            assert f"{where}/train-001.tar/1/0000.png" in paths
            assert index.verify() == []


def test_samples_are_those_of_webdataset(tars):
    for file in sorted(tars.glob("*.tar")):
        with file.open("rb") as stream:
            ours = [
                (
                    each.listed.path.split("/", 1)[1].rsplit(".", 1)[0],
                    each.listed.label,
                    each.content,
                )
                for each in read_tar(stream, file.name)
            ]
        theirs = []
        for sample in webdataset.WebDataset(str(file), shardshuffle=False):
            label = sample["cls"].decode() if "cls" in sample else None
            if label is None:
                label = json.loads(sample["json"])["label"]
            picture = sample.get("png", sample.get("jpg"))
            theirs.append((sample["__key__"], label, picture))
        assert ours == theirs


def tar_of(*members):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return stream.getvalue()


class TestDamagedTars:
    def read(self, content):
        return list(read_tar(io.BytesIO(content), "x.tar"))

    def test_names_stay_names(self):
        with pytest.raises(RunError, match=r"\.\./\.\./a.png leads out of it"):
            self.read(tar_of(("../../a.png", b"1")))
        found = self.read(tar_of(("/etc/b.png", b"2"), ("x/.c.png", b"3")))
        assert [each.listed.path for each in found] == ["x.tar//etc/b.png"]

    def test_a_name_twice(self):
        with pytest.raises(RunError, match=r"x.tar: a.png stands in it twice"):
            self.read(tar_of(("a.png", b"1"), ("a.png", b"2")))

    @pytest.mark.parametrize("size", [1, 600, 1000, 1536, 1600, 3072])
    def test_cut_off(self, size):
        content = tar_of(("a.png", b"1" * 700), ("b.png", b"2" * 700))
        with pytest.raises(RunError, match=r"x.tar is damaged"):
            self.read(content[:size])

    def test_labels_that_are_none(self):
        members = [("a.png", b"1"), ("a.cls", b"\xff"), ("b.png", b"1"), ("b.json", b"[" * 9999)]
        assert [each.listed.label for each in self.read(tar_of(*members))] == [None, None]

    def test_links_and_devices_are_left_out(self):
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w") as archive:
            for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE):
                info = tarfile.TarInfo("a.png")
                info.type, info.linkname = kind, "/etc/passwd"
                archive.addfile(info)
        assert self.read(stream.getvalue()) == []

    def test_not_a_tar_file(self):
        with pytest.raises(RunError, match=r"x.tar is damaged"):
            self.read(b"x" * 10_000)


def test_a_damaged_tar_file_stops_the_worker(tars, embedder, tmp_path):
    file = tars / "train-001.tar"
    whole = file.read_bytes()
    job = plan_job(FINISHED_RUN, f"{tars}/train-*.tar", tmp_path / "job", 3)
    file.write_bytes(whole[:1500])
    with pytest.raises(RunError, match=r"train-001.tar is damaged"):
        work_on(job, embedder, Share(), QUIET)
    file.write_bytes(whole)
    assert work_on(job, embedder, Share(), QUIET).done == 2


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ("{tars}/none-*.tar", "nothing is there"),
        ("{tars}/train-{{000..003}}.tar", "there is no tar file .*train-003.tar"),
        ("{tars}/train-{{3..1}}.tar", "must ascend"),
        ("{tars}/*/x.tar", "not their folder"),
        ("{tars}/none/x.tar", "there is no folder"),
        ("memory://nothing", "nothing is there|cannot be listed"),
    ],
)
def test_pictures_that_are_not_there(tars, tmp_path, images, message):
    with pytest.raises(DatasetError, match=message):
        plan_job(FINISHED_RUN, images.format(tars=tars), tmp_path / "job", 1)


def test_parts_are_of_lists(tars, memory, tmp_path):
    for images in (f"{tars}/train-*.tar", memory):
        with pytest.raises(ConfigError, match="needs a CSV file"):
            plan_job(FINISHED_RUN, images, tmp_path / "job", 1, part="test")


@pytest.fixture
def s3(monkeypatch):
    """An S3 server of moto on this machine, with an empty bucket."""
    served = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    served.start()
    host, port = served.get_host_and_port()
    for name, value in (
        ("AWS_ENDPOINT_URL", f"http://{host}:{port}"),
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
        ("AWS_DEFAULT_REGION", "us-east-1"),
    ):
        monkeypatch.setenv(name, value)
    system = fsspec.filesystem("s3", skip_instance_cache=True)
    system.mkdir("pictures")
    yield system
    fsspec.filesystem("s3").clear_instance_cache()
    served.stop()


def test_an_s3_server(s3, photos, tars, embedder, tmp_path, from_folder):
    s3.put(str(photos), "pictures/photos", recursive=True)
    s3.put(str(tars), "pictures/tars", recursive=True)
    with made(embedder, "s3://pictures/photos", tmp_path / "a") as index:
        assert by_content(index) == from_folder
        assert index.catalogue[0].path.startswith("s3://pictures/photos/apple/")
    with made(embedder, "s3://pictures/tars/train-{000..002}.tar", tmp_path / "b") as index:
        assert len(index) == len(from_folder)
    with pytest.raises(DatasetError):
        plan_job(FINISHED_RUN, "s3://nosuchbucket/x", tmp_path / "job", 1)
