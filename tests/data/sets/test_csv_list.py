import pytest
from PIL import Image

from ibc_pyg.data.registry import load_table
from ibc_pyg.data.table import Role
from ibc_pyg.errors import DatasetError


@pytest.fixture
def root(tmp_path):
    (tmp_path / "my pictures").mkdir()
    for name in "abcdefgh":
        Image.new("RGB", (8, 8)).save(tmp_path / "my pictures" / f"{name}.png")
    return tmp_path


def write(root, text: str, encoding: str = "utf-8", name: str = "images.csv"):
    (root / name).write_bytes(text.encode(encoding))


def listed(split: bool = True, sep: str = ",", end: str = "\n") -> str:
    header = ["path", "label", "split"][: 3 if split else 2]
    rows = [
        [f"my pictures/{name}.png", f"class {index // 2}", "train" if index < 4 else "test"]
        for index, name in enumerate("abcdefgh")
    ]
    return end.join(sep.join(row[: len(header)]) for row in [header, *rows]) + end


@pytest.mark.parametrize("sep", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_dialects(root, sep, end, encoding):
    write(root, listed(sep=sep, end=end) + end, encoding)
    table = load_table("csv", root)
    assert table.class_names == ("class 0", "class 1", "class 2", "class 3")
    assert table.labels.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert table.roles.tolist() == [Role.TRAIN.value] * 4 + [Role.TEST.value] * 4


def test_the_file_itself_and_another_name(root):
    write(root, listed(), name="list ü.csv")
    assert len(load_table("csv", root / "list ü.csv")) == 8
    assert len(load_table("csv", root, file=root / "list ü.csv")) == 8
    with pytest.raises(DatasetError, match=r"images\.csv: cannot be read"):
        load_table("csv", root)


def test_without_split_classes_are_drawn(root):
    write(root, listed(split=False))
    table = load_table("csv", root, test_fraction=0.25, seed=3)
    assert (table.sizes().train_classes, table.sizes().test_classes) == (3, 1)


def test_an_image_may_be_query_and_gallery(root):
    text = "label,split,path\nx,query,my pictures/a.png\nx,gallery,my pictures/a.png\n"
    text += "x,gallery,my pictures/b.png\n7,train,my pictures/c.png\n7,train,my pictures/d.png\n"
    write(root, text)
    table = load_table("csv", root)
    assert table.roles.tolist() == [Role.TEST.value, Role.GALLERY.value, 1, 1]
    assert table.class_names == ("7", "x")


def test_absolute_paths_and_backslashes(root):
    text = listed().replace("my pictures/a", f"{root}/my pictures/a")
    write(root, text.replace("my pictures/b", "my pictures\\b"))
    table = load_table("csv", root)
    assert all((table.root / path).is_file() for path in table.paths)


@pytest.mark.parametrize(
    ("line", "text", "problem"),
    [
        (1, "file,class", "the header must be `path,label[,split]`"),
        (1, "path,label,label", "the header must be"),
        (4, "a.png", "1 fields, but the header has 3"),
        (4, "a.png,x,train,more", "4 fields, but the header has 3"),
        (4, "a.png,,train", "the label is empty"),
        (4, ",x,train", "names no file"),
        (4, "a.png,x,val", "split 'val' is not one of train, test, query, gallery"),
        (4, "my pictures/a.png,class 0,train", "is already in line 2"),
        (4, "my pictures/a.png,class 9,test", "is already in line 2"),
        (4, 'a.png,"x"y,train', "expected after"),
    ],
)
def test_errors_name_file_and_line(root, line, text, problem):
    lines = listed().splitlines()
    lines[line - 1] = text
    write(root, "\n".join(lines))
    with pytest.raises(DatasetError) as caught:
        load_table("csv", root)
    assert f"images.csv, line {line}: " in str(caught.value)
    assert problem in str(caught.value)


def test_another_encoding_is_said(root):
    write(root, listed().replace("class 1", "Käse"), "cp1252")
    with pytest.raises(DatasetError, match=r"images\.csv, line 4: not UTF-8"):
        load_table("csv", root)


def test_missing_images_are_named(root):
    (root / "my pictures" / "c.png").unlink()
    write(root, listed())
    with pytest.raises(DatasetError, match=r"1 of 8 images are missing.*'my pictures/c\.png'"):
        load_table("csv", root)


@pytest.mark.parametrize("text", ["", "\n\n", "path,label\n"])
def test_an_empty_list_is_said(root, text):
    write(root, text)
    with pytest.raises(DatasetError, match=r"images\.csv, line 1: no images listed"):
        load_table("csv", root)
