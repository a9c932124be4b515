import shutil

import pytest

from ibc_pyg.data.registry import load_table
from ibc_pyg.data.sample import make_sample
from ibc_pyg.data.sets import sop
from ibc_pyg.data.table import SplitSizes
from ibc_pyg.errors import DatasetError


@pytest.fixture
def sample(tmp_path, monkeypatch):
    monkeypatch.setattr(sop, "SIZES", SplitSizes(3, 12, 3, 12, 12, 12))
    return make_sample("sop", tmp_path / "sop", classes=3, images=4)


def test_published_sizes():
    # Song et al. 2016, section 6: 120,053 images of 22,634 products.
    assert sop.SIZES.train_images + sop.SIZES.test_images == 120_053
    assert sop.SIZES.train_classes + sop.SIZES.test_classes == 22_634


@pytest.mark.parametrize("inner", ["", "Stanford_Online_Products"])
def test_lists(sample, inner):
    table = load_table("sop", sample / inner)
    assert table.sizes() == sop.SIZES
    assert table.class_names == ("1", "2", "3", "11319", "11320", "11321")
    for path, label in zip(table.paths, table.labels, strict=True):
        number = int(path.split("/")[1].split("_")[0]) - 111085122871
        assert table.class_names[label] == str(number)


@pytest.mark.parametrize("with_lists", [True, False])
def test_class_folders_of_the_released_code(sample, tmp_path, monkeypatch, with_lists):
    before = load_table("sop", sample)
    monkeypatch.setattr(sop, "TRAIN_CLASSES", 3)
    base = tmp_path / "moved"
    for path, label in zip(before.paths, before.labels, strict=True):
        folder = base / "images" / f"{int(before.class_names[label]):05d}"
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(before.root / path, folder)
    if with_lists:
        for name, _ in sop.LISTS:
            shutil.copy(before.root / name, base)
    after = load_table("sop", base)
    assert after.sizes() == before.sizes()
    assert (after.labels == before.labels).all()
    assert [p.split("/")[-1] for p in after.paths] == [p.split("/")[-1] for p in before.paths]


def test_windows_line_ends_spaces_and_no_header(sample):
    base = sample / "Stanford_Online_Products"
    before = load_table("sop", sample)
    (base / "bicycle_final").rename(base / "bicycle final ü")
    for name, _ in sop.LISTS:
        lines = (base / name).read_text().replace("bicycle_final", "bicycle final ü").split("\n")
        (base / name).write_bytes("\r\n".join([*lines[1:], "", ""]).encode())
    after = load_table("sop", sample)
    assert (after.labels == before.labels).all()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("5 1 1", "expected `image_id class_id super_class_id path`"),
        ("5 one 1 a/b.JPG", "class_id must be a non-negative integer"),
        ("5 1 1 a/../../b.JPG", "leaves the folder of the data set"),
    ],
)
def test_errors_name_file_and_line(sample, text, problem):
    file = sample / "Stanford_Online_Products" / "Ebay_test.txt"
    lines = file.read_text().splitlines()
    lines[6] = text
    file.write_text("\n".join(lines))
    with pytest.raises(DatasetError) as caught:
        load_table("sop", sample)
    assert "Ebay_test.txt, line 7: " in str(caught.value)
    assert problem in str(caught.value)


def test_a_class_in_both_lists(sample):
    base = sample / "Stanford_Online_Products"
    shutil.copy(base / "Ebay_train.txt", base / "Ebay_test.txt")
    with pytest.raises(
        DatasetError, match=r"Ebay_test\.txt, line 2: class 1 is also in Ebay_train"
    ):
        load_table("sop", sample)
