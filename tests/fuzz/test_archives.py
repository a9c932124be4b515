"""Archives of data sets."""

import io
import shutil
import tarfile
import zipfile
from pathlib import Path

import pytest

from ibc_pyg.data.fetching.archive import unpack
from tests.helpers.fuzz import fuzz_file

MEMBERS = {"top/a.txt": b"alpha", "top/inner/b ü.txt": b"beta" * 200, "c" * 120: b""}
MODES = {"tar": "w", "tgz": "w:gz", "tar.bz2": "w:bz2", "tar.xz": "w:xz"}


def pack(file: Path) -> None:
    kind = file.name.partition(".")[2]
    if kind == "zip":
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in MEMBERS.items():
                archive.writestr(name, content)
        return
    with tarfile.open(file, MODES[kind], format=tarfile.PAX_FORMAT) as tar:
        for name, content in MEMBERS.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


@pytest.mark.parametrize("kind", [*MODES, "zip"])
def test_archive(tmp_path, kind):
    (tmp_path / "set").mkdir()
    file = tmp_path / "set" / f"x.{kind}"
    pack(file)

    def read(path: Path) -> None:
        out = path.with_name("out")
        shutil.rmtree(out, ignore_errors=True)
        unpack(path, out)
        for each in out.rglob("*"):
            assert each.is_file() or each.is_dir()
            assert not each.is_symlink()

    fuzz_file(read, file, examples=200)
