import shutil
from collections import Counter

import pytest

from ibc_pyg.data.registry import load_table
from ibc_pyg.data.sample import make_sample
from ibc_pyg.data.sets import cub
from ibc_pyg.data.table import Role, SplitSizes
from ibc_pyg.errors import DatasetError


@pytest.fixture
def sample(tmp_path, monkeypatch):
    """A synthetic set that counts as whole: four classes of five images in each part."""
    monkeypatch.setattr(cub, "SIZES", SplitSizes(4, 20, 4, 20, 20, 20))
    return make_sample("cub", tmp_path / "CUB ü", classes=4, images=5)


def names_of(table):
    return [table.class_names[label] for label in table.labels]


def test_official_annotations_class_by_class(shared):
    base = shared / "data" / "cub_200_2011_metadata"
    table = cub.cub_annotations(base)
    assert table.sizes() == SplitSizes(100, 5864, 100, 5924, 5924, 5924)
    # The folder name of each image begins with its class number: a source besides the labels.
    folders = [line.split()[1].split("/")[0] for line in (base / "images.txt").open()]
    assert Counter(names_of(table)) == Counter(folders)
    assert [path.split("/")[1] for path in table.paths] == folders
    for folder, role in zip(folders, table.roles, strict=True):
        assert role == (Role.TRAIN if int(folder[:3]) <= 100 else Role.TEST).value
    assert [int(name[:3]) for name in table.class_names] == list(range(1, 201))


def test_a_whole_set_from_the_official_annotations(shared, tmp_path):
    base = tmp_path / "CUB_200_2011"
    shutil.copytree(shared / "data" / "cub_200_2011_metadata", base)
    paths = [line.split()[1] for line in (base / "images.txt").open()]
    for folder in {path.split("/")[0] for path in paths}:
        (base / "images" / folder).mkdir(parents=True)
    for path in paths:
        (base / "images" / path).touch()
    whole = load_table("cub", tmp_path)
    for file in base.glob("*.txt"):
        file.unlink()
    folders = load_table("cub", tmp_path)
    assert folders.sizes() == whole.sizes()
    assert sorted(zip(whole.paths, names_of(whole), strict=True)) == sorted(
        zip(folders.paths, names_of(folders), strict=True)
    )
    for path in paths[:7]:
        (base / "images" / path).unlink()
    with pytest.raises(DatasetError, match="7 images are not listed"):
        load_table("cub", base)


def test_missing_images_are_counted_and_named(sample):
    files = sorted((sample / "CUB_200_2011" / "images").rglob("*.jpg"))
    for file in files[:6]:
        file.unlink()
    with pytest.raises(DatasetError) as caught:
        load_table("cub", sample)
    message = str(caught.value)
    assert "6 of 40 images are missing" in message
    assert all(file.name in message for file in files[:5])
    assert files[5].name not in message
    table = load_table("cub", sample, allow_partial=True)
    assert len(table) == 34
    assert table.sizes().train_classes == 3  # the first class and one image of the second are gone


@pytest.mark.parametrize("change", ["crlf", "blank", "bom", "from_zero", "no_names"])
def test_harmless_differences(sample, change):
    base = sample / "CUB_200_2011"
    before = load_table("cub", base)
    for file in base.glob("*.txt"):
        data = file.read_bytes()
        if change == "crlf":
            data = data.replace(b"\n", b"\r\n")
        elif change == "blank":
            data += b"\n  \n"
        elif change == "bom":
            data = b"\xef\xbb\xbf" + data
        elif change == "from_zero" and file.name in ("classes.txt", "image_class_labels.txt"):
            rows = [line.split(b" ") for line in data.splitlines()]
            place = 0 if file.name == "classes.txt" else 1
            for row in rows:
                row[place] = str(int(row[place]) - 1).encode()
            data = b"\n".join(b" ".join(row) for row in rows)
        file.write_bytes(data)
    if change == "no_names":
        (base / "classes.txt").unlink()
    after = load_table("cub", sample)
    assert after.paths == before.paths
    assert (after.labels == before.labels).all()
    assert (after.roles == before.roles).all()


def test_symbolic_links_and_a_read_only_root(sample, tmp_path):
    moved = tmp_path / "elsewhere"
    shutil.move(sample / "CUB_200_2011" / "images", moved)
    (sample / "CUB_200_2011" / "images").symlink_to(moved)
    link = tmp_path / "link"
    link.symlink_to(sample)
    sample.chmod(0o555)
    try:
        assert len(load_table("cub", link)) == 40
    finally:
        sample.chmod(0o755)


@pytest.mark.parametrize(
    ("file", "line", "text", "problem"),
    [
        ("images.txt", 3, "x a/b.jpg", "image_id must be a non-negative integer, found 'x'"),
        ("images.txt", 3, "3 ../../etc/passwd", "leaves the folder"),
        ("images.txt", 3, "3 /etc/passwd", "leaves the folder"),
        ("images.txt", 3, "3", "expected `image_id path`"),
        ("images.txt", 3, "1 other.jpg", "image_id 1 is already in line 1"),
        ("image_class_labels.txt", 4, "4 201", "class 201 is not in 1 ... 200"),
        ("image_class_labels.txt", 4, "900 1", "image 900 is not in images.txt"),
        ("classes.txt", 2, "2", "expected `class_id name`"),
    ],
)
def test_errors_name_file_and_line(sample, file, line, text, problem):
    path = sample / "CUB_200_2011" / file
    lines = path.read_text().splitlines()
    lines[line - 1] = text
    path.write_text("\n".join(lines))
    with pytest.raises(DatasetError) as caught:
        load_table("cub", sample)
    if "not in images.txt" not in problem:
        assert f"{file}, line {line}: " in str(caught.value)
        assert problem in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_label_file_is_named(sample):
    (sample / "CUB_200_2011" / "image_class_labels.txt").unlink()
    with pytest.raises(DatasetError, match=r"image_class_labels\.txt: cannot be read: No such"):
        load_table("cub", sample)
