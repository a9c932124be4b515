import gzip
import io
import lzma
import os
import shutil
import tarfile
import tracemalloc
import zipfile
from collections import namedtuple

import pytest

from ibc_pyg.data.fetching import archive as archive_module
from ibc_pyg.data.fetching.archive import unpack
from ibc_pyg.errors import DatasetError

GOOD = {"top/a.txt": b"alpha", "top/inner/b ü.txt": b"beta" * 1000}


def make_tar(file, members, mode="w:gz"):
    with tarfile.open(file, mode) as archive:
        for name, content in members.items():
            info = content if isinstance(content, tarfile.TarInfo) else tarfile.TarInfo(name)
            data = b"" if isinstance(content, tarfile.TarInfo) else content
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return file


def make_zip(file, members):
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(content if isinstance(content, zipfile.ZipInfo) else name, b"x")
            if isinstance(content, bytes):
                archive.writestr(name + ".data", content)
    return file


def special(name, kind, target="/etc/passwd"):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


@pytest.mark.parametrize("kind", ["tgz", "tar", "tar.xz", "zip"])
def test_a_good_archive(tmp_path, kind):
    file, calls = tmp_path / f"good.{kind}", []
    if kind == "zip":
        with zipfile.ZipFile(file, "w") as archive:
            for name, data in GOOD.items():
                archive.writestr(name, data)
    else:
        make_tar(file, GOOD, {"tgz": "w:gz", "tar": "w", "tar.xz": "w:xz"}[kind])
    count = unpack(file, tmp_path / "out", progress=lambda *call: calls.append(call))
    assert count == 2
    for name, data in GOOD.items():
        assert (tmp_path / "out" / name).read_bytes() == data
    assert calls[-1] == (f"unpacking good.{kind}", 4005, 4005)


@pytest.mark.parametrize(
    "name", ["/etc/x", "../x", "a/../../x", "a\\..\\..\\x", "C:/x", "a\nb", "a/" + "b" * 300]
)
@pytest.mark.parametrize("kind", ["tgz", "zip"])
def test_a_member_outside_the_folder_is_refused(tmp_path, name, kind):
    make = make_zip if kind == "zip" else make_tar
    file = make(tmp_path / f"bad.{kind}", {"good.txt": b"1", name: b"2"})
    with pytest.raises(DatasetError, match="nothing was unpacked") as caught:
        unpack(file, tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()
    assert sorted(p.name for p in tmp_path.iterdir()) == [f"bad.{kind}"]


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE]
)
def test_links_and_devices_in_tar_are_refused(tmp_path, kind):
    members = {"good.txt": b"1", "bad": special("bad", kind)}
    file = make_tar(tmp_path / "bad.tgz", members)
    with pytest.raises(DatasetError, match="member 'bad' is a"):
        unpack(file, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_link_in_zip_is_refused(tmp_path):
    info = zipfile.ZipInfo("bad")
    info.create_system, info.external_attr = 3, 0o120777 << 16
    file = make_zip(tmp_path / "bad.zip", {"bad": info})
    with pytest.raises(DatasetError, match="member 'bad' is a link"):
        unpack(file, tmp_path / "out")


def test_a_member_without_a_name_in_zip_is_refused(tmp_path):
    file = make_zip(tmp_path / "bad.zip", {"ab": b"x"})
    # zipfile cuts a name at its first null character.
    file.write_bytes(file.read_bytes().replace(b"ab", b"\0b"))
    with pytest.raises(DatasetError) as caught:
        unpack(file, tmp_path / "out")
    assert "bad.zip" in str(caught.value)


def test_a_link_that_is_there_already_is_not_followed_out(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "top").symlink_to(tmp_path)
    with pytest.raises(DatasetError, match="leaves the folder through an existing link"):
        unpack(make_tar(tmp_path / "x.tgz", GOOD), tmp_path / "out")
    assert not (tmp_path / "a.txt").exists()


@pytest.mark.parametrize("kind", ["tgz", "zip"])
@pytest.mark.parametrize("part", [0, 1, 2])
def test_a_damaged_archive_is_said(tmp_path, kind, part):
    noise = {"top/a.bin": os.urandom(50_000), "top/b.bin": os.urandom(50_000)}
    file = (make_zip if kind == "zip" else make_tar)(tmp_path / f"x.{kind}", noise)
    data = bytearray(file.read_bytes())
    damaged = (data[: len(data) // 2], b"", data[:40_000] + b"broken" + data[40_006:])[part]
    file.write_bytes(bytes(damaged))
    with pytest.raises(DatasetError) as caught:
        unpack(file, tmp_path / "out")
    assert f"x.{kind}" in str(caught.value)


def test_a_member_larger_than_announced(tmp_path):
    file = tmp_path / "x.zip"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a", bytes(1000))
    data = file.read_bytes()
    file.write_bytes(data.replace((1000).to_bytes(4, "little"), (10).to_bytes(4, "little")))
    with pytest.raises(DatasetError):
        unpack(file, tmp_path / "out")


def test_a_full_disk_is_seen_before_writing(tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10, 9, 1))
    with pytest.raises(DatasetError, match=r"are needed to unpack it.*free some space"):
        unpack(make_tar(tmp_path / "x.tgz", GOOD), tmp_path / "out")
    assert not any((tmp_path / "out").iterdir())


def test_permissions_are_not_taken_over(tmp_path):
    info = tarfile.TarInfo("run.sh")
    info.mode, info.size = 0o6777, 0
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        archive.addfile(info, io.BytesIO())
    unpack(tmp_path / "x.tar", tmp_path / "out")
    assert not (tmp_path / "out" / "run.sh").stat().st_mode & 0o6111


def bomb(kind, file):
    """Write an archive of 80 MB of zeros in a member or, for "header", in the header of one."""
    if kind == "zip":
        with (
            zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive,
            archive.open("zeros", "w") as member,
        ):
            for _ in range(80):
                member.write(bytes(2**20))
        return
    info = tarfile.TarInfo("zeros")
    info.size = 80 * 2**20 if kind != "tail" else 0
    if kind == "header":
        info.type = tarfile.XHDTYPE
    packer = lzma if kind == "xz" else gzip
    with packer.open(file, "wb") as out:
        out.write(info.tobuf(tarfile.GNU_FORMAT))
        for _ in range(80):
            out.write(bytes(2**20))


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("zip", "more than 20 times its size"),
        ("member", "unpacks to more than the allowed"),
        ("xz", "unpacks to more than the allowed"),
        ("tail", "unpacks to more than the allowed"),
        ("header", "a header has more than"),
    ],
)
def test_an_archive_that_grows_too_much_is_refused(tmp_path, kind, message):
    file = tmp_path / "bomb"
    bomb(kind, file)
    tracemalloc.start()
    try:
        with pytest.raises(DatasetError, match=message):
            unpack(file, tmp_path / "out")
        assert tracemalloc.get_traced_memory()[1] < 40 * 2**20
    finally:
        tracemalloc.stop()
    assert not (tmp_path / "out").exists() or not any((tmp_path / "out").iterdir())


def test_long_chains_of_headers_are_refused(tmp_path):
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 1
    block = info.tobuf(tarfile.GNU_FORMAT) + b"a".ljust(512, b"\0")
    (tmp_path / "x.tar").write_bytes(block * 5000)
    with pytest.raises(DatasetError, match="damaged archive"):
        unpack(tmp_path / "x.tar", tmp_path / "out")


def test_many_members_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(archive_module, "MAX_MEMBERS", 2)
    file = make_tar(tmp_path / "x.tgz", {str(i): b"" for i in range(3)})
    with pytest.raises(DatasetError, match="more than 2 members"):
        unpack(file, tmp_path / "out")


def test_a_pipe_is_not_an_archive(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DatasetError, match="not a regular file"):
        unpack(tmp_path / "pipe", tmp_path / "out")
