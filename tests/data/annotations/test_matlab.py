"""MATLAB files: the official ones, written ones, and files that must not harm the process."""

import io
import struct
import zlib

import numpy as np
import pytest
from scipy.io import savemat

from ibc_pyg.data.annotations import matlab, matlab_child
from ibc_pyg.data.annotations.matlab import read_strings, read_struct
from ibc_pyg.errors import DatasetError


def structure(rows):
    array = np.empty((1, len(rows)), dtype=[(name, object) for name in rows[0]])
    for index, row in enumerate(rows):
        array[0, index] = tuple(row.values())
    return array


def element(kind, body):
    return struct.pack("<II", kind, len(body)) + body + bytes(-len(body) % 8)


def cell_file(sides, kind=1):
    """A MATLAB 5 file with an empty cell array `names` that claims to have `sides`."""
    head = element(6, struct.pack("<II", kind, 0)) + element(5, struct.pack("<ii", *sides))
    return bytes(124) + b"\x00\x01IM" + element(14, head + element(1, b"names"))


def test_official_files(shared):
    """Sizes and first entries as published: 8,144 images, 196 classes."""
    folder = shared / "data" / "cars196_metadata"
    names = read_strings(folder / "cars_meta.mat", "class_names")
    assert (len(names), names[0], names[-1]) == (
        196,
        "AM General Hummer SUV 2000",
        "smart fortwo Convertible 2012",
    )
    entries = read_struct(folder / "cars_train_annos.mat", "annotations", ("fname", "class"))
    assert len(entries) == 8144
    assert [entry.path("fname") for entry in entries[:2]] == ["00001.jpg", "00002.jpg"]
    assert {entry.integer("class") for entry in entries} == set(range(1, 197))


@pytest.mark.parametrize("compressed", [False, True])
def test_written_values(tmp_path, compressed):
    file = tmp_path / "x ü.mat"
    rows = [
        {"other": {"a": 1}, "text": "añb/c d.jpg", "number": np.array([[7]], "u1")},
        {"other": [1], "text": "", "number": np.array([[2.5]])},
        {"other": "y", "text": np.array(["in a cell"], object), "number": np.array([1, 2])},
        {"other": 1, "text": 3, "number": np.zeros((30, 30))},
    ]
    content = {"before": np.eye(3), "data": structure(rows), "after": "text"}
    savemat(file, content, do_compression=compressed)
    found = read_struct(file, "data", ("text", "number"))
    assert [entry.fields["text"] for entry in found] == ["añb/c d.jpg", "", "in a cell", [3.0]]
    assert [entry.fields["number"] for entry in found] == [[7.0], [2.5], [1.0, 2.0], None]
    assert [entry.number for entry in found] == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("variable", "fields", "problem"),
    [
        ("nothing", ["text"], "has no variable nothing"),
        ("matrix", ["text"], "variable matrix is not a structure array"),
        ("data", ["text", "colour"], "data has no field colour"),
        ("data", [], "variable data is not a cell array"),
        ("matrix", [], "variable matrix is not a cell array"),
        ("text", [], "variable text is not a cell array"),
    ],
)
def test_other_variables(variable, fields, problem):
    file = io.BytesIO()
    savemat(file, {"matrix": np.eye(3), "data": structure([{"text": "a"}]), "text": "text"})
    assert matlab_child.read(file.getvalue(), variable, fields) == {"error": problem}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        bytes(500),
        b"MATLAB 7.3 MAT-file" + bytes(500),
        b"\x80\x04cos\nsystem\n",
        bytes(126) + b"IM" + b"abc",
        cell_file((2**31 - 1, 1)),  # 16 GiB of pointers
        cell_file((2**15, 2**15)),
        cell_file((-1, 1)),
        cell_file((1, 1)),
        bytes(126) + b"IM" + element(15, zlib.compress(bytes(10**6))),
    ],
)
def test_damaged_files_are_one_line(tmp_path, data):
    file = tmp_path / "x.mat"
    file.write_bytes(data)
    with pytest.raises(DatasetError, match=r"x\.mat: .*download it again") as caught:
        read_strings(file, "names")
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    ("script", "problem"),
    [
        ("import os; os.abort()", "the MATLAB reader failed with exit status -6"),
        ("import time; time.sleep(60)", "timed out"),
        ("print('no JSON')", "download it again"),
    ],
)
def test_a_crash_of_the_reader_is_one_line(tmp_path, monkeypatch, script, problem):
    file, child = tmp_path / "x.mat", tmp_path / "child.py"
    file.write_bytes(cell_file((1, 1)))
    child.write_text(script)
    monkeypatch.setattr(matlab, "CHILD", child)
    monkeypatch.setattr(matlab, "TIMEOUT_S", 2.0)
    with pytest.raises(DatasetError, match=problem) as caught:
        read_strings(file, "names")
    assert str(caught.value).isprintable()
