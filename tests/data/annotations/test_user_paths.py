"""One spelling for each file of a list."""

import unicodedata

import pytest

from ibc_pyg.data.annotations.text import Line
from ibc_pyg.data.annotations.user_paths import UserPaths
from ibc_pyg.errors import DatasetError


@pytest.fixture
def root(tmp_path):
    (tmp_path / "set" / "a").mkdir(parents=True)
    (tmp_path / "set" / "a" / "1.jpg").touch()
    return tmp_path / "set"


def read(root, text):
    return UserPaths(root).read(Line(root / "images.csv", 2, text), text)


@pytest.mark.parametrize(
    "text",
    ["a/1.jpg", "./a/1.jpg", ".\\a\\1.jpg", "a\\1.jpg", "a//1.jpg", " a/1.jpg ", "a/./1.jpg"],
)
def test_spellings_of_one_file(root, text):
    assert read(root, text) == "a/1.jpg"


def test_absolute_paths_and_links_to_the_root(root):
    link = root.parent / "link"
    link.symlink_to(root)
    assert read(root, f"{root}/a/1.jpg") == "a/1.jpg"
    assert read(link, f"{link}/a/1.jpg") == "a/1.jpg"
    assert read(link, f"{root}/a/1.jpg") == "a/1.jpg"
    assert read(root, "/elsewhere/1.jpg") == "/elsewhere/1.jpg"
    assert read(root, f"{root}more/1.jpg") == f"{root}more/1.jpg"


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_unicode_form_of_the_file(root, form):
    name = unicodedata.normalize(form, "Café/crème.jpg")
    (root / name).parent.mkdir()
    (root / name).touch()
    for other in ("NFC", "NFD"):
        assert read(root, unicodedata.normalize(other, name)) == name
    assert read(root, "Café/other.jpg").endswith("other.jpg")


@pytest.mark.parametrize("name", [" lead.jpg", "back\\slash.jpg", "trail.jpg "])
def test_a_file_named_just_so_is_preferred(root, name):
    (root / name).touch()
    assert read(root, name) == name


@pytest.mark.parametrize(
    ("text", "problem"),
    [("D:\\a\\1.jpg", "of a Windows drive"), ("d:/a/1.jpg", "of a Windows drive"),
     (" ", "names no file"), ("a\0b.jpg", "has control characters")],
)  # fmt: skip
def test_paths_that_cannot_be_used(root, text, problem):
    with pytest.raises(DatasetError, match=f"line 2: image path .* {problem}"):
        read(root, text)
