import unicodedata

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
        (4, "a.png,x,held", "split 'held' is not one of train, val, test, query, gallery"),
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


def oml(root, columns="label,path,split,is_query,is_gallery", test="validation", marks=("1", "")):
    """The list that open-metric-learning's converters write."""
    rows = [
        {"path": f"my pictures/{name}.png", "label": f"class {index // 2}",
         "split": "train" if index < 4 else test,
         "is_query": "" if index < 4 else marks[index % 2],
         "is_gallery": "" if index < 4 else marks[1 - index % 2]}
        for index, name in enumerate("abcdefgh")
    ]  # fmt: skip
    lines = [",".join(row[name] for name in columns.split(",")) for row in rows]
    write(root, "\n".join([columns, *lines]))


@pytest.mark.parametrize("test", ["validation", "test", "val"])
@pytest.mark.parametrize("marks", [("True", "False"), ("1.0", "0.0"), ("1", "")])
def test_query_and_gallery_columns(root, test, marks):
    oml(root, test=test, marks=marks)
    table = load_table("csv", root)
    query, gallery = Role.QUERY.value, Role.GALLERY.value
    assert table.roles.tolist() == [1, 1, 1, 1, query, gallery, query, gallery]


def test_validation_is_tested_on_without_these_columns(root, caplog):
    oml(root, columns="path,label,split")
    table = load_table("csv", root)
    assert table.roles.tolist() == [1, 1, 1, 1] + [Role.TEST.value] * 4
    assert "the validation part is tested on" in caplog.text


def test_validation_beside_a_test_part(root):
    lines = listed().splitlines()
    lines[5:7] = [line.replace(",test", ",val") for line in lines[5:7]]
    write(root, "\n".join(lines))
    assert load_table("csv", root).roles.tolist() == [1, 1, 1, 1, 8, 8, 6, 6]


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ("a.png,x,test,no,no", "must be query or gallery, but is neither"),
        ("a.png,x,test,perhaps,no", "is_query 'perhaps' is not true or false"),
        ("a.png,x,train,1,0", "is_query contradict the split 'train'"),
        ("a.png,x,query,0,1", "is_gallery contradict the split 'query'"),
    ],
)
def test_contradictions_of_these_columns_are_named(root, row, problem):
    write(root, f"path,label,split,is_query,is_gallery\n{row}\n")
    with pytest.raises(DatasetError) as caught:
        load_table("csv", root)
    assert "images.csv, line 2: " in str(caught.value)
    assert problem in str(caught.value)


@pytest.mark.parametrize("sep", [",", ";", "\t", "|"])
@pytest.mark.parametrize(
    "before", ["sep={sep}\n", "# exported; by hand, 2024\n\n", "\n# a\nSEP={sep}\n"]
)
def test_lines_before_the_header(root, sep, before):
    write(root, before.format(sep=sep) + listed(sep=sep))
    assert len(load_table("csv", root)) == 8
    broken = before.format(sep=sep) + listed(sep=sep) + f"a{sep}b\n"
    write(root, broken)
    with pytest.raises(DatasetError, match=f"line {broken.count(chr(10))}: 2 fields"):
        load_table("csv", root)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig"])
def test_byte_order_marks(root, encoding):
    write(root, listed(sep="\t").replace("class 1", "Käse"), encoding)
    assert "Käse" in load_table("csv", root).class_names


@pytest.mark.parametrize("again", ["./{}", "{root}/{}", "x/../{}"])
def test_an_image_in_two_spellings_is_listed_twice(root, again):
    path = "my pictures/a.png"
    write(root, listed() + again.format(path, root=root) + ",class 3,test\n")
    with pytest.raises(DatasetError, match=r"line 10: image .* is already in line 2"):
        load_table("csv", root)


def test_two_forms_of_a_number_are_one_class(root, caplog):
    lines = [
        f"my pictures/{name}.png,{index // 4}{'.0' if index % 2 else ''},{part}"
        for index, (name, part) in enumerate(
            zip("abcdefgh", ["train"] * 4 + ["test"] * 4, strict=True)
        )
    ]
    write(root, "\n".join(["path,label,split", *lines]))
    assert load_table("csv", root).class_names == ("0", "1")
    assert "2 labels are written in two ways" in caplog.text


def test_labels_in_two_unicode_forms_are_one_class(root):
    forms = [unicodedata.normalize(form, "Käse") for form in ("NFC", "NFD")]
    text = listed().replace("class 0", forms[0]).replace("class 1", forms[1])
    write(root, text)
    assert load_table("csv", root).class_names == (forms[0], "class 2", "class 3")
