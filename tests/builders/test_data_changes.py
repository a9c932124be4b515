"""A run that is resumed meets the images that it was started with, or says what differs."""

import shutil

import pytest
from PIL import Image

from ibc_pyg.builders.data import build_data
from ibc_pyg.builders.data_changes import check_same_data
from ibc_pyg.errors import RunError
from ibc_pyg.runs.split_record import read_split, record_of, write_split
from tests.helpers.folder_run import folder_config

PARTS = {"train": ("a", "b", "c"), "test": ("u", "v")}


@pytest.fixture
def root(tmp_path):
    for part, names in PARTS.items():
        for name in names:
            (tmp_path / "pictures" / part / name).mkdir(parents=True)
            for index in range(3):
                Image.new("RGB", (8, 8), (index, 0, 0)).save(
                    tmp_path / "pictures" / part / name / f"{index}.png"
                )
    return tmp_path / "pictures"


@pytest.fixture
def record(root, tmp_path):
    data = build_data(folder_config(root))
    write_split(tmp_path / "split.json", record_of(data.table, data.splits), data_root=str(root))
    return read_split(tmp_path / "split.json", data_root=str(root))


def check(root, record, *fields):
    check_same_data(folder_config(root, *fields).data, record)


def test_the_same_images(root, record, caplog):
    check(root, record)
    assert not caplog.text


@pytest.mark.parametrize("skip", [False, True])
def test_a_renamed_class_is_refused_by_both_names(root, record, skip):
    (root / "train" / "b").rename(root / "train" / "zebra")
    with pytest.raises(RunError) as caught:
        check(root, record, *(["--data.on_error", "skip"] if skip else []))
    message = str(caught.value)
    assert "3 of the 15 images of the run are missing" in message
    assert "'train/b/0.png' of class 'b', while the run does not know 'zebra'" in message
    assert "no image is left of 1 training classes ('b')" in message


def test_missing_images_are_refused_or_skipped(root, record, caplog):
    (root / "train" / "b" / "1.png").unlink()
    shutil.rmtree(root / "test" / "u")
    with pytest.raises(RunError, match=r"4 of the 15 .*'test/u/0\.png'.*--data\.on_error skip"):
        check(root, record)
    check(root, record, "--data.on_error", "skip")
    assert "going on without them" in caplog.text


def test_added_images_are_named(root, record, caplog):
    shutil.copytree(root / "train" / "a", root / "train" / "new")
    check(root, record)
    assert "3 images are not of the run" in caplog.text


def test_another_class_in_a_list_is_refused(root, tmp_path):
    lines = ["path,label,split"]
    for part, names in PARTS.items():
        lines += [f"{part}/{name}/{i}.png,{name},{part}" for name in names for i in range(3)]
    listed = root / "images.csv"
    listed.write_text("\n".join(lines))
    csv = ("--data.name", "csv")
    data = build_data(folder_config(listed, *csv))
    record = record_of(data.table, data.splits)
    check(listed, record, *csv)
    listed.write_text("\n".join(lines).replace("a/1.png,a", "a/1.png,b"))
    with pytest.raises(RunError, match=r"'train/a/1\.png' has class 'b', but 'a' when the run"):
        check(listed, record, *csv)
