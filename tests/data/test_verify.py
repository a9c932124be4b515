import numpy as np
import pytest
from PIL import Image

from ibc_pyg.data.registry import load_table
from ibc_pyg.data.sample import make_sample
from ibc_pyg.data.verify import verify


@pytest.fixture
def root(tmp_path):
    """Three classes: three good pictures in each, and what is wrong in them is added by tests."""
    rng = np.random.default_rng(0)
    for part, name in (("train", "a"), ("train", "b"), ("test", "c")):
        (tmp_path / part / name).mkdir(parents=True)
        for index in range(3):
            pixels = rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / part / name / f"{index}.jpg")
    return tmp_path


def test_a_clean_set(root):
    calls = []
    report = verify(load_table("folder", root), progress=lambda *call: calls.append(call))
    assert report.ok
    assert (report.images, report.classes) == (9, 3)
    assert calls == [(done, 9) for done in range(1, 10)]
    assert report.smallest == report.largest == (30, 20)
    assert report.lines()[3:] == [
        "broken: 0",
        "greyscale: 0",
        "duplicates: 0",
        "duplicates across classes or train and test: 0",
        "classes with one image: 0",
    ]


def test_broken_files_are_named_with_the_reason(root):
    data = (root / "train" / "a" / "0.jpg").read_bytes()
    broken = {
        "empty.jpg": b"",
        "cut.jpg": data[: len(data) // 2],
        "text.jpg": b"<html>404</html>",
        "head.png": b"\x89PNG\r\n\x1a\n" + bytes(40),
    }
    for name, content in broken.items():
        (root / "train" / "a" / name).write_bytes(content)
    report = verify(load_table("folder", root))
    assert not report.ok
    reasons = {path.split("/")[-1]: reason for path, reason in report.broken}
    assert reasons.keys() == broken.keys()
    assert reasons["empty.jpg"] == "the file is empty"
    assert reasons["text.jpg"] == "not an image in a known format (16 bytes)"
    assert "truncated" in reasons["cut.jpg"].lower()
    assert report.lines()[3] == "broken: 4"
    assert all("\n" not in line for line in report.lines())


def test_greyscale_has_one_channel_or_three_equal_ones(root):
    grey = Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8))
    grey.save(root / "test" / "c" / "one.png")
    grey.convert("RGB").save(root / "test" / "c" / "three.png")
    report = verify(load_table("folder", root))
    assert {path.split("/")[-1] for path in report.grey} == {"one.png", "three.png"}


def test_duplicates_and_those_that_conflict(root):
    first, second = (root / "train" / "a" / f"{n}.jpg" for n in (0, 1))
    (root / "train" / "a" / "again.jpg").write_bytes(first.read_bytes())
    (root / "train" / "b" / "stray.jpg").write_bytes(second.read_bytes())
    report = verify(load_table("folder", root))
    assert {frozenset(group) for group in report.duplicates} == {
        frozenset({"train/a/0.jpg", "train/a/again.jpg"}),
        frozenset({"train/a/1.jpg", "train/b/stray.jpg"}),
    }
    assert [set(group) for group in report.conflicting] == [{"train/a/1.jpg", "train/b/stray.jpg"}]


def test_a_class_with_one_image(root):
    (root / "train" / "lonely").mkdir()
    Image.new("RGB", (5, 5), "red").save(root / "train" / "lonely" / "x.png")
    report = verify(load_table("folder", root, allow_partial=True))
    assert report.single_image_classes == ("lonely",)


def test_a_set_in_memory():
    report = verify(load_table("digits"))
    assert report.ok
    assert (report.images, report.smallest) == (1797, (8, 8))
    assert "greyscale: all 1,797" in report.lines()


def test_a_long_list_is_cut(root):
    for index in range(25):
        (root / "train" / "b" / f"x{index}.jpg").touch()
    lines = verify(load_table("folder", root)).lines()
    assert "broken: 25" in lines
    assert "  ... and 15 more" in lines
    assert sum(line.startswith("  train/b/x") for line in lines) == 10


@pytest.mark.parametrize("name", ["cub", "cars", "sop", "inshop", "omniglot", "grocery_store"])
def test_samples_are_sound(name, tmp_path):
    make_sample(name, tmp_path / "x", classes=2, images=3)
    report = verify(load_table(name, tmp_path / "x", allow_partial=True))
    assert report.ok
    assert not report.duplicates
    assert not report.single_image_classes
