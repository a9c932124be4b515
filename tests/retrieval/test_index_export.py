"""Exports hold every file with its vector, and are read back by their own libraries."""

import csv
import os
import shutil
import sys

import numpy as np
import pytest

import ibc_pyg
from ibc_pyg.errors import RunError
from tests.helpers.index_pictures import CountingModel, save_pictures


@pytest.fixture
def index(tmp_path):
    photos = tmp_path / "photos"
    files = save_pictures(photos, 30)
    shutil.copy(files[0], photos / "pear" / "copy.png")
    files[1].rename(files[1].with_name(os.fsdecode(b"odd\xff.png")))
    files[2].rename(photos / "top.png")
    with ibc_pyg.Index.build(CountingModel().embedder, photos, tmp_path / "index") as index:
        index.remove(label="plum")
        yield index


def test_npy_and_csv(index, tmp_path):
    number = index.export(tmp_path / "out.npy")
    vectors = np.load(tmp_path / "out.npy")
    with (tmp_path / "out.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert number == len(rows) == len(index.catalogue) == len(vectors) + 1
    for row, entry in zip(rows, index.catalogue, strict=True):
        assert np.array_equal(vectors[int(row["id"])], index.vectors[entry.row])
        assert (row["label"] or None, row["sha256"]) == (entry.label, entry.sha256)
        assert row["path"] == entry.path.replace(os.fsdecode(b"\xff"), "\\udcff")


def test_parquet(index, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    number = index.export(tmp_path / "out.parquet")
    table = parquet.read_table(tmp_path / "out.parquet")
    assert table.column_names == ["id", "path", "label", "sha256", "vector"]
    assert table.num_rows == number == len(index.catalogue)
    for row, entry in zip(table.to_pylist(), index.catalogue, strict=True):
        assert row["id"] == entry.row
        assert np.array_equal(np.float32(row["vector"]), index.vectors[entry.row])
        assert (row["label"], row["sha256"]) == (entry.label, entry.sha256)


def test_without_pyarrow(index, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(RunError, match=r"Parquet needs pyarrow.*\(pip install pyarrow\)"):
        index.export(tmp_path / "out.parquet")
    assert not (tmp_path / "out.parquet").exists()


def test_other_formats(index, tmp_path):
    with pytest.raises(RunError, match=r"out\.txt: give a file that ends with \.parquet or \.npy"):
        index.export(tmp_path / "out.txt")


def test_an_empty_index(index, tmp_path):
    index.remove([entry.path for entry in index.catalogue])
    assert index.export(tmp_path / "out.npy") == 0
    assert np.load(tmp_path / "out.npy").shape == (0, 16)
