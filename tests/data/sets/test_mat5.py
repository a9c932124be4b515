"""The reader of MATLAB files, against scipy's on sound files."""

import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.io import loadmat, savemat

from ibc_pyg.data.sets.mat5 import HEADER, Mat5Error, Mat5Reader


def structure(rows):
    array = np.empty((1, len(rows)), dtype=[(name, object) for name in rows[0]])
    for index, row in enumerate(rows):
        array[0, index] = tuple(row[name] for name in array.dtype.names)
    return array


@pytest.mark.parametrize("name", ["cars_train_annos", "cars_test_annos"])
def test_the_official_structures(shared, name):
    file = shared / "data" / "cars196_metadata" / f"{name}.mat"
    expected = loadmat(file, squeeze_me=True)["annotations"]
    fields = expected.dtype.names
    found = Mat5Reader(file.read_bytes()).struct("annotations", fields)
    assert len(found) == len(expected)
    for entry, other in zip(found, expected, strict=True):
        assert entry["fname"] == other["fname"]
        for field in set(fields) - {"fname"}:
            assert entry[field].tolist() == [int(other[field])]


def test_the_official_names(shared):
    file = shared / "data" / "cars196_metadata" / "cars_meta.mat"
    expected = loadmat(file, squeeze_me=True)["class_names"]
    assert Mat5Reader(file.read_bytes()).cells("class_names") == expected.tolist()


CODES = ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8"]
NUMBER = st.sampled_from(CODES).flatmap(
    lambda code: st.integers(0, 120).map(lambda n: np.array([[n]], dtype=code))
)


@given(
    rows=st.lists(
        st.fixed_dictionaries(
            {
                "other": NUMBER,
                "text": st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "Zs"))),
                "number": NUMBER,
            }
        ),
        min_size=1,
        max_size=4,
    ),
    compressed=st.booleans(),
)
def test_what_scipy_writes(rows, compressed, tmp_path_factory):
    file = tmp_path_factory.mktemp("mat") / "x.mat"
    content = {"before": np.eye(3), "data": structure(rows), "after": "text"}
    savemat(file, content, do_compression=compressed)
    found = Mat5Reader(file.read_bytes()).struct("data", ("text", "number"))
    assert [entry["text"] for entry in found] == [row["text"] for row in rows]
    assert [entry["number"].item() for entry in found] == [row["number"].item() for row in rows]


def big_endian_cell() -> bytes:
    """A cell array with one text, written by hand in the other byte order."""

    def element(kind, body):
        return struct.pack(">II", kind, len(body)) + body + bytes(-len(body) % 8)

    def matrix(kind, sides, name, body):
        head = element(6, struct.pack(">II", kind, 0)) + element(5, struct.pack(">ii", *sides))
        return element(14, head + element(1, name) + body)

    text = matrix(4, (1, 3), b"", element(4, "añb".encode("utf-16-be")))
    return bytes(124) + b"\x01\x00MI" + matrix(1, (1, 1), b"names", text)


def test_the_other_byte_order():
    assert Mat5Reader(big_endian_cell()).cells("names") == ["añb"]


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "no MATLAB 5 file"),
        (bytes(500), "no MATLAB 5 file"),
        (b"MATLAB 7.3 MAT-file" + bytes(500), "save it as version 7"),
        (bytes(126) + b"IM", "has no variable names"),
        (bytes(126) + b"IM" + b"abc", "cut short"),
    ],
)
def test_other_files(data, problem):
    with pytest.raises(Mat5Error, match=problem):
        Mat5Reader(data).cells("names")


def test_claims_beyond_reason_are_refused():
    good = bytearray(big_endian_cell())
    sides = good.index(struct.pack(">ii", 1, 1))
    for claim in ((2**31 - 1, 1), (2**30, 2**30), (-1, 1), (1, 2)):
        good[sides : sides + 8] = struct.pack(">ii", *claim)
        with pytest.raises(Mat5Error):
            Mat5Reader(bytes(good)).cells("names")


def test_a_compressed_bomb_is_refused(monkeypatch):
    monkeypatch.setattr("ibc_pyg.data.sets.mat5.MAX_UNPACKED", 10_000)
    body = zlib.compress(bytes(10**6))
    data = bytes(126) + b"IM" + struct.pack("<II", 15, len(body)) + body
    with pytest.raises(Mat5Error, match="cut short or too large"):
        Mat5Reader(data).cells("names")


@given(place=st.integers(0, len(big_endian_cell()) - 1), value=st.integers(0, 255))
def test_any_byte_may_be_wrong(place, value):
    data = bytearray(big_endian_cell())
    data[place] = value
    try:
        found = Mat5Reader(bytes(data)).cells("names")
    except Mat5Error:
        assert place >= HEADER - 2
    else:
        assert len(found) <= 1
