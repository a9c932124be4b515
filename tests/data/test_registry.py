import subprocess
import sys

import pytest

from ibc_pyg.data.registry import DATASETS, load_table
from ibc_pyg.data.sample import SAMPLES, make_sample
from ibc_pyg.errors import ConfigError, DatasetError


def test_every_loader_can_be_imported():
    for info in DATASETS.values():
        assert callable(info.loader())
        assert "\n" not in info.description


def test_listing_imports_nothing_heavy():
    code = (
        "import sys, ibc_pyg.data.registry as r; list(r.DATASETS.values());"
        "print([m for m in ('torch', 'scipy', 'sklearn', 'PIL', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(ConfigError, match=r"data\.name.*did you mean omniglot\?"):
        load_table("omniglott", ".")


def test_an_unknown_option_is_named(tmp_path):
    with pytest.raises(
        ConfigError,
        match=r"data\.options: data set folder has no argument 'fraction'.*test_fraction\?",
    ):
        load_table("folder", tmp_path, fraction=0.1)


@pytest.mark.parametrize("name", [name for name, info in DATASETS.items() if info.needs_root])
def test_a_root_is_asked_for(name):
    with pytest.raises(ConfigError, match=r"data\.root"):
        load_table(name)


@pytest.mark.parametrize("name", [name for name, info in DATASETS.items() if info.needs_root])
@pytest.mark.parametrize("kind", ["missing", "empty", "file", "unrelated"])
def test_a_wrong_root_is_one_line(name, kind, tmp_path):
    root = tmp_path / "Ordner mit Ünicode\u3000и пробелами"
    if kind == "file":
        root.write_bytes(b"x")
    elif kind != "missing":
        root.mkdir()
    if kind == "unrelated":
        (root / "notes.md").write_text("nothing")
    with pytest.raises(DatasetError) as caught:
        load_table(name, root)
    assert "\n" not in str(caught.value)
    assert str(root).replace("\u3000", r"\u3000") in str(caught.value)


@pytest.mark.parametrize("name", [name for name, info in DATASETS.items() if info.needs_root])
@pytest.mark.parametrize("root", ["x" * 300, "a\0b", "new\nline"])
def test_a_root_that_cannot_be_is_one_line(name, root):
    with pytest.raises(DatasetError) as caught:
        load_table(name, root)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("name", [name for name, info in DATASETS.items() if info.needs_root])
def test_a_folder_that_may_not_be_entered(name, tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError(13, "Permission denied", str(tmp_path / "locked"))

    (tmp_path / "something").touch()
    monkeypatch.setattr("pathlib.Path.exists", refuse)
    monkeypatch.setattr("pathlib.Path.is_dir", refuse)
    with pytest.raises(DatasetError):
        load_table(name, tmp_path)


def test_digits_are_split_by_class():
    sizes = load_table("digits").sizes()
    # Counts of scikit-learn's own documentation: 1,797 in all, about 180 of each digit.
    assert (sizes.train_classes, sizes.test_classes) == (5, 5)
    assert sizes.train_images + sizes.test_images == 1797


@pytest.mark.parametrize("name", SAMPLES)
def test_the_same_root_loads_the_same_table(name, tmp_path):
    make_sample(name, tmp_path / "sample", classes=2, images=3)
    first = load_table(name, tmp_path / "sample", allow_partial=True)
    second = load_table(name, str(tmp_path / "sample"), allow_partial=True)
    assert first.paths == second.paths
    assert (first.labels == second.labels).all()
    assert (first.roles == second.roles).all()
