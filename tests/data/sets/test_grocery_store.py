from collections import Counter

import pytest

from ibc_pyg.data.registry import load_table
from ibc_pyg.data.sample import make_sample
from ibc_pyg.data.sets import grocery_store
from ibc_pyg.data.table import Role, SplitSizes
from ibc_pyg.errors import DatasetError


@pytest.fixture
def sample(tmp_path, monkeypatch):
    monkeypatch.setattr(grocery_store, "SIZES", SplitSizes(3, 12, 3, 12, 12, 12))
    return make_sample("grocery_store", tmp_path / "grocery", classes=3, images=4)


def test_the_real_set(shared):
    root = shared / "data" / "grocery_store"
    table = load_table("grocery_store", root)
    assert table.sizes() == SplitSizes(41, 3051, 40, 2370, 2370, 2370)
    listed = Counter(
        int(line.split(",")[1])
        for name in ("train", "val", "test")
        for line in (root / f"{name}.txt").read_text().splitlines()
    )
    assert Counter(table.labels.tolist()) == listed  # classes are from 0 there as well
    assert set(table.labels[table.where(Role.TRAIN)]) == set(range(41))
    assert table.class_names[0] == "Golden-Delicious"
    assert all(
        table.class_names[label] in path
        for path, label in zip(table.paths[:500], table.labels, strict=False)
    )


def test_repository_layout(sample, tmp_path):
    outer = tmp_path / "GroceryStoreDataset"
    outer.mkdir()
    sample.rename(outer / "dataset")
    assert load_table("grocery_store", tmp_path).sizes().train_images == 12


def test_labels_from_one(sample, monkeypatch):
    before = load_table("grocery_store", sample)
    monkeypatch.setattr(grocery_store, "CLASSES", 44)
    for name in grocery_store.LISTS:
        lines = [line.split(", ") for line in (sample / name).read_text().splitlines()]
        text = "\r\n".join(f"{path}, {int(label) + 1}, 0" for path, label, _ in lines)
        (sample / name).write_text(text)
    after = load_table("grocery_store", sample)
    assert (after.labels == before.labels).all()
    assert (after.roles == before.roles).all()


@pytest.mark.parametrize(
    ("file", "line", "text", "problem"),
    [
        ("val.txt", 2, "val/a.jpg, x, 0", "class must be a non-negative integer"),
        ("val.txt", 2, "val/a.jpg, 1", "expected `path class coarse_class`"),
        ("val.txt", 2, "../a.jpg, 1, 0", "leaves the folder of the data set"),
        ("classes.csv", 3, "Apple,x,Fruit,0,a,b", "class must be a non-negative integer"),
        ("classes.csv", 3, "Apple", "expected `name class`"),
    ],
)
def test_errors_name_file_and_line(sample, file, line, text, problem):
    lines = (sample / file).read_text().splitlines()
    lines[line - 1] = text
    (sample / file).write_text("\n".join(lines))
    with pytest.raises(DatasetError) as caught:
        load_table("grocery_store", sample)
    assert f"{file}, line {line}: " in str(caught.value)
    assert problem in str(caught.value)
