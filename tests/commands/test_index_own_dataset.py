"""Data sets of the user in an index: listed where the user names them, never unasked."""

import shutil

import pytest

import ibc_pyg
from tests.helpers.command_line import fails, works
from tests.helpers.index_pictures import FINISHED_RUN, save_picture, save_pictures

CODE = """
from pathlib import Path
import numpy as np
from ibc_pyg.data.table import ImageTable, Role

Path(__file__).with_suffix(".executed").touch()

def by_sign(root):
    files = sorted(Path(root).rglob("*.png"))
    labels = np.array([file.parent.name == "pear" for file in files], np.int64)
    roles = np.where(labels, Role.TEST.value, Role.TRAIN.value).astype(np.uint8)
    return ImageTable("own", tuple(str(file.relative_to(root)) for file in files), labels, roles,
                      ("other", "pear"), root=Path(root))
"""


@pytest.fixture
def photos(tmp_path):
    save_pictures(tmp_path / "photos", 12)
    return tmp_path / "photos"


@pytest.fixture
def code(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.py").write_text(CODE)
    return tmp_path / "own.py"


def executed(code):
    """Tell whether the file was executed since the last call."""
    mark = code.with_suffix(".executed")
    found = mark.exists()
    mark.unlink(missing_ok=True)
    return found


@pytest.fixture
def built(photos, code, capsys):
    words = ("build", FINISHED_RUN, "own.py:by_sign", "--root", photos, "--out", "own.index")
    assert "12 added" in works(capsys, "index", *words)
    return code.parent / "own.index"


def test_classes_and_parts_are_those_of_the_data_set(built, photos, capsys):
    with ibc_pyg.Index.open(built) as found:
        assert {entry.label for entry in found.catalogue} == {"other", "pear"}
    words = ("build", FINISHED_RUN, "own.py:by_sign", "--root", photos, "--part", "test")
    assert "4 added" in works(capsys, "index", *words, "--out", "part.index")


def test_a_sync_executes_the_code_that_is_named_alone(built, photos, code, capsys, monkeypatch):
    assert executed(code)
    save_picture(photos / "pear" / "new.png", 900)
    code.write_text(CODE + "\n# an edit, so that it is executed again\n")
    error = fails(capsys, "index", "sync", built)
    assert all(word in error for word in (f"{code}:by_sign", "--trust-code"))
    assert not executed(code)
    words = ("index", "sync", built, "own.py:by_sign", "--root", photos)
    assert "1 added, 12 unchanged" in works(capsys, *words)
    assert executed(code)
    code.write_text(CODE + "\n# a second one\n")
    monkeypatch.chdir(photos)
    assert "13 unchanged" in works(capsys, "index", "sync", built, "--trust-code")
    assert executed(code)


def test_a_stranger_s_index_is_searched_without_its_code(built, photos, code, tmp_path, capsys):
    executed(code)
    code.write_text(CODE + "\n# evil\n")
    stranger = shutil.copytree(built, tmp_path / "stranger.index")
    works(capsys, "search", stranger, photos / "pear" / "0001.png")
    works(capsys, "index", "info", stranger)
    single = save_picture(tmp_path / "x.png", 901)
    assert "1 added" in works(capsys, "index", "add", stranger, single)
    fails(capsys, "index", "sync", stranger)
    fails(capsys, "index", "sync", stranger, "--reembed", "--model", FINISHED_RUN)
    assert not executed(code)


def test_what_cannot_be_indexed_is_one_line(photos, code, capsys):
    code.write_text("def broken(): raise ValueError('no data')\nnumber = 3\n")
    for words, said in (
        (["own.py:broken", "--root", photos], "own.py:broken cannot be made: ValueError: no data"),
        (["own.py:number", "--root", photos], "expected a class or function"),
        (["own.py:missing", "--root", photos], "there is no 'missing'"),
        (["gone.py:Own", "--root", photos], "there is no file"),
        (["own.py:broken"], "needs the folder of its pictures: --root"),
    ):
        given = ("index", "build", FINISHED_RUN, *words, "--out", "bad.index")
        assert said in fails(capsys, *given)
