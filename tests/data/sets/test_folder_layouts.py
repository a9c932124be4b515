"""Layouts of a folder: classes, parts, and folders that are neither."""

import unicodedata

import pytest
from PIL import Image

from ibc_pyg.data.images.formats import HEIF_SUFFIXES, SUFFIXES
from ibc_pyg.data.registry import load_table
from ibc_pyg.data.table import Role
from ibc_pyg.errors import ConfigError, DatasetError


def fill(root, *folders, images=2):
    for folder in folders:
        (root / folder).mkdir(parents=True, exist_ok=True)
        for index in range(images):
            Image.new("RGB", (8, 8), (index, 0, 0)).save(root / folder / f"{index}.png")
    return root


def classes_of(table, role):
    return {table.class_names[label] for label in table.labels[table.where(role)]}


@pytest.mark.parametrize("val", ["val", "valid", "Validation"])
def test_validation_classes_of_their_own_are_kept_beside_a_test_part(tmp_path, val, caplog):
    table = load_table("folder", fill(tmp_path, "train/a", "train/b", f"{val}/c", "test/d"))
    assert classes_of(table, Role.TRAIN) == {"a", "b"}
    assert classes_of(table, Role.VAL) == {"c"}
    assert classes_of(table, Role.TEST) == {"d"}
    assert "2 validation images of 1 classes" in str(table.sizes())
    assert not caplog.text


def test_a_validation_part_of_the_training_classes_is_left_out_by_name(tmp_path, caplog):
    fill(tmp_path, "train/a", "train/b", "val/a", "val/b", "test/c", images=3)
    table = load_table("folder", tmp_path)
    assert not len(table.where(Role.VAL))
    assert len(table) == 9
    assert "2 of 2 validation classes are also in other parts" in caplog.text
    assert "the 6 validation images are not used" in caplog.text


def test_a_validation_part_is_tested_on_if_there_is_no_other(tmp_path, caplog):
    table = load_table("folder", fill(tmp_path, "train/a", "train/b", "val/c", "val/d"))
    assert classes_of(table, Role.TEST) == {"c", "d"}
    assert "the validation part is tested on" in caplog.text


def test_classes_in_both_parts_of_a_classification_split_are_named(tmp_path, caplog):
    table = load_table("folder", fill(tmp_path, "train/a", "train/b", "val/a", "val/b"))
    assert len(table.class_names) == 2
    assert "2 classes have both training and test images" in caplog.text


@pytest.mark.parametrize("stray", ["__MACOSX/train/a", "annotations", "train/empty"])
def test_folders_without_pictures_do_not_change_the_layout(tmp_path, stray, caplog):
    fill(tmp_path, "train/a", "train/b", "test/c", "test/d")
    expected = load_table("folder", tmp_path)
    (tmp_path / stray).mkdir(parents=True)
    (tmp_path / stray / "._0.png").touch()
    (tmp_path / stray / "readme.txt").touch()
    table = load_table("folder", tmp_path)
    assert table.paths == expected.paths
    assert (table.roles == expected.roles).all()
    name = stray if stray.startswith("train") else stray.split("/")[0]
    assert f"1 folders without a readable picture: '{name}' (1 .txt)" in caplog.text


def test_two_possible_layouts_are_refused_and_each_option_chooses_one(tmp_path, caplog):
    fill(tmp_path, "train/a", "train/b", "test/c", "masks")
    with pytest.raises(DatasetError) as caught:
        load_table("folder", tmp_path)
    message = str(caught.value)
    assert "can be read in two ways: test/, train/ as parts" in message
    assert "without 'masks' (--data.options.layout parts)" in message
    assert "3 folders as one class (--data.options.layout classes)" in message
    parts = load_table("folder", tmp_path, layout="parts")
    assert parts.class_names == ("a", "b", "c")
    assert "with pictures: 'masks' (2)" in caplog.text
    classes = load_table("folder", tmp_path, layout="classes")
    assert set(classes.class_names) == {"train", "test", "masks"}


def test_classes_named_as_parts(tmp_path):
    """Vehicles: the folder of trains holds pictures itself, as those of the other classes do."""
    table = load_table("folder", fill(tmp_path, "train", "car", "bus"))
    assert set(table.class_names) == {"train", "car", "bus"}


def test_parts_of_pictures_without_classes_are_refused(tmp_path):
    fill(tmp_path, "train", "test")
    with pytest.raises(DatasetError, match=r"test/, train/ in .* hold no class folders"):
        load_table("folder", tmp_path)
    assert len(load_table("folder", tmp_path, layout="classes").class_names) == 2


def test_options_of_the_layout(tmp_path):
    fill(tmp_path, "a", "b")
    with pytest.raises(ConfigError, match=r"data\.options\.layout: 'flat' is not one of auto"):
        load_table("folder", tmp_path, layout="flat")
    with pytest.raises(DatasetError, match="has no folder train"):
        load_table("folder", tmp_path, layout="parts")


def test_unicode_forms_of_a_name_are_one_class(tmp_path):
    name = "café crème"
    forms = [unicodedata.normalize(form, name) for form in ("NFC", "NFD")]
    assert forms[0] != forms[1]
    fill(tmp_path, f"train/{forms[0]}", "train/b", f"test/{forms[1]}", "test/c")
    assert load_table("folder", tmp_path).class_names == ("b", forms[0], "c")


def test_what_is_passed_over_is_counted_in_one_line(tmp_path, caplog, monkeypatch):
    for module in ("folders", "class_folders"):  # as without pillow-heif
        name = f"ibc_pyg.data.annotations.{module}.SUFFIXES"
        monkeypatch.setattr(name, SUFFIXES - HEIF_SUFFIXES)
    fill(tmp_path, "a", "b", "c")
    (tmp_path / "phone").mkdir()
    for index in range(3):
        (tmp_path / "phone" / f"IMG_{index}.HEIC").touch()
        (tmp_path / f"loose{index}.png").touch()
    (tmp_path / "empty").mkdir()
    (tmp_path / "a" / "notes.txt").touch()
    (tmp_path / "a" / "Thumbs.db").touch()
    (tmp_path / "README.md").touch()
    table = load_table("folder", tmp_path)
    assert len(table) == 6
    (record,) = caplog.records
    said = record.getMessage()
    assert "2 folders without a readable picture: 'empty' (nothing), 'phone' (3 .heic)" in said
    assert "3 pictures in no class folder: 'loose0.png', 'loose1.png', 'loose2.png'" in said
    assert "other files in class folders: 1 .txt" in said
    assert "install pillow-heif" in said
    assert "Thumbs" not in said
    assert "README" not in said
    assert "\n" not in said


def test_a_part_without_class_folders_is_named(tmp_path, caplog):
    fill(tmp_path, "train/a", "train/b", "test/c", "test/d")
    (tmp_path / "val").mkdir()
    (tmp_path / "val" / "loose.jpg").touch()
    assert len(load_table("folder", tmp_path)) == 8
    assert "folders without a readable picture: 'val' (nothing)" in caplog.text
    assert "in no class folder: 'val/loose.jpg'" in caplog.text


def test_thumbnails_of_a_file_server_are_not_pictures(tmp_path):
    fill(tmp_path, "a", "b", "a/@eaDir/0.png", "@eaDir")
    table = load_table("folder", tmp_path)
    assert len(table) == 4
    assert table.class_names == ("a", "b") or table.class_names == ("b", "a")
