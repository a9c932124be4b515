import pytest
from PIL import Image

from ibc_pyg.data.registry import load_table
from ibc_pyg.data.table import Role
from ibc_pyg.errors import ConfigError, DatasetError


def fill(root, counts: dict[str, int]):
    for folder, count in counts.items():
        (root / folder).mkdir(parents=True, exist_ok=True)
        for index in range(count):
            Image.new("RGB", (8, 8), (index, 0, 0)).save(root / folder / f"{index}.png")
    return root


def test_classes_are_split_by_seed(tmp_path):
    fill(tmp_path, {f"class {n}": 2 for n in range(10)})
    tables = [load_table("folder", tmp_path, seed=seed) for seed in (0, 0, 1, 2, 3)]
    assert (tables[0].roles == tables[1].roles).all()
    assert len({table.roles.tobytes() for table in tables}) > 1
    for table in tables:
        assert table.sizes().train_classes == table.sizes().test_classes == 5
        train = set(table.labels[table.where(Role.TRAIN)])
        assert train == set(range(5))
        assert not train & set(table.labels[table.where(Role.TEST)])


@pytest.mark.parametrize(
    ("fraction", "test"), [(0, 0), (0.01, 1), (0.3, 3), (0.5, 5), (0.99, 9), (1, 10)]
)
def test_fractions(tmp_path, fraction, test):
    fill(tmp_path, {f"{n}": 2 for n in range(10)})
    sizes = load_table("folder", tmp_path, test_fraction=fraction).sizes()
    assert (sizes.train_classes, sizes.test_classes) == (10 - test, test)


@pytest.mark.parametrize("fraction", [-0.1, 1.1, float("nan"), "half", None])
def test_a_fraction_out_of_range_is_named(tmp_path, fraction):
    fill(tmp_path, {"a": 2, "b": 2})
    with pytest.raises(ConfigError, match=r"data\.options\.test_fraction"):
        load_table("folder", tmp_path, test_fraction=fraction)


def test_ready_made_parts(tmp_path):
    fill(tmp_path, {"train/a": 2, "train/b": 3, "test/c": 2, "test/d": 4})
    table = load_table("folder", tmp_path)
    assert table.class_names == ("a", "b", "c", "d")
    assert (table.sizes().train_images, table.sizes().test_images) == (5, 6)


def test_query_and_gallery(tmp_path, caplog):
    fill(tmp_path, {"train/a": 2, "query/c": 1, "gallery/c": 3, "gallery/a": 1})
    table = load_table("folder", tmp_path)
    assert (table.sizes().query_images, table.sizes().gallery_images) == (1, 4)
    assert "1 classes have both training and test images" in caplog.text


def test_a_query_without_gallery_is_named(tmp_path):
    fill(tmp_path, {"query/c": 2, "gallery/d": 2})
    with pytest.raises(DatasetError, match=r"query 'query/c/0\.png' has no gallery image"):
        load_table("folder", tmp_path)


@pytest.mark.parametrize("parts", [True, False])
def test_a_class_with_one_image(tmp_path, parts, caplog):
    train, test = ("train/", "test/") if parts else ("", "")
    fill(tmp_path, {f"{train}a": 2, f"{train}lonely": 1, f"{test}c": 3, f"{test}d": 2})
    with pytest.raises(DatasetError, match=r"class 'lonely' has one image.*add a second"):
        load_table("folder", tmp_path)
    table = load_table("folder", tmp_path, allow_partial=True)
    if parts:  # a training class of one image can be repeated
        assert len(table) == 8
    fill(tmp_path, {f"{test}lonely too": 1})
    table = load_table("folder", tmp_path, allow_partial=True, test_fraction=1)
    assert not len(table.unmatched())
    assert "1 test images have no other image of their class" in caplog.text or not parts


def test_names_links_and_hidden_files(tmp_path):
    fill(tmp_path / "set", {"Äpfel und Birnen": 2, "日本 語": 2, ".hidden": 2, "b/inner": 1})
    fill(tmp_path / "elsewhere", {"x": 2})
    (tmp_path / "set" / "linked").symlink_to(tmp_path / "elsewhere" / "x")
    (tmp_path / "set" / "b" / "one.JPEG").symlink_to(tmp_path / "elsewhere" / "x" / "0.png")
    (tmp_path / "set" / "b" / "loop").symlink_to(tmp_path / "set" / "b")
    (tmp_path / "set" / "b" / "._one.jpg").touch()
    (tmp_path / "set" / "b" / "notes.txt").touch()
    table = load_table("folder", tmp_path / "set")
    assert set(table.class_names) == {"Äpfel und Birnen", "日本 語", "b", "linked"}
    assert len(table) == 8
    assert all((table.root / path).is_file() for path in table.paths)


def test_a_dangling_link_is_missing(tmp_path):
    fill(tmp_path, {"a": 2, "b": 2})
    (tmp_path / "a" / "gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    with pytest.raises(DatasetError, match=r"1 of 5 images are missing.*'a/gone\.jpg'"):
        load_table("folder", tmp_path)


def test_a_name_that_is_no_utf8(tmp_path):
    fill(tmp_path, {"a": 2, "b": 2})
    with open(bytes(tmp_path / "a") + b"/caf\xe9.png", "wb"):  # noqa: PTH123 - a name in bytes
        pass
    with pytest.raises(DatasetError, match="not valid UTF-8; rename it") as caught:
        load_table("folder", tmp_path)
    str(caught.value).encode()


def test_one_class_cannot_be_split(tmp_path):
    fill(tmp_path, {"only": 3})
    with pytest.raises(DatasetError, match="1 class found, but a split by class needs two"):
        load_table("folder", tmp_path)
    assert load_table("folder", tmp_path, test_fraction=1).sizes().test_images == 3


def test_natural_order(tmp_path):
    fill(tmp_path, {f"train/class {n}": 2 for n in (1, 2, 10)})
    assert load_table("folder", tmp_path).class_names == ("class 1", "class 2", "class 10")


def test_distractors_of_one_image_need_no_option(tmp_path, caplog):
    fill(tmp_path, {"train/a": 2, "query/c": 2, "gallery/c": 1, "gallery/d": 1, "gallery/e": 1})
    table = load_table("folder", tmp_path)
    assert table.sizes().gallery_images == 3
    assert not caplog.text
    fill(tmp_path, {"query/f": 1})
    with pytest.raises(DatasetError, match="class 'f' has one image"):
        load_table("folder", tmp_path)
