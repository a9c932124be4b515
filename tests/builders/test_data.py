"""The use of a given validation part."""

import pytest
from PIL import Image

from ibc_pyg.builders.data import build_data, recorded_data
from ibc_pyg.runs.split_record import read_split, record_of, write_split
from tests.helpers.folder_run import folder_config


@pytest.fixture
def root(tmp_path):
    for name in ("train/a", "train/b", "val/c", "val/d", "test/e", "test/f"):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for index in range(2):
            Image.new("RGB", (8, 8)).save(tmp_path / "pictures" / name / f"{index}.png")
    return tmp_path / "pictures"


def names(data, rows):
    return {data.table.class_names[label] for label in data.table.labels[rows]}


def test_the_part_selects_and_is_recorded(root, tmp_path, caplog):
    config = folder_config(root, "--select", "val", "--train.evaluate_every", "1")
    data = build_data(config)
    assert names(data, data.splits.train) == {"a", "b"}
    assert names(data, data.splits.val.queries) == {"c", "d"}
    assert names(data, data.splits.test.queries) == {"e", "f"}
    write_split(tmp_path / "split.json", record_of(data.table, data.splits), data_root=str(root))
    kept = recorded_data(config, read_split(tmp_path / "split.json", data_root=str(root)))
    assert (kept.splits.val.queries == data.splits.val.queries).all()
    assert (kept.splits.train == data.splits.train).all()
    assert not caplog.text


def test_another_selection_does_not_use_it_and_says_so(root, caplog):
    data = build_data(folder_config(root))
    assert data.splits.val is None
    assert names(data, data.splits.train) == {"a", "b"}
    assert "the 4 validation images are not used: select is last" in caplog.text
