import numpy as np
import pytest
from PIL import Image

from ibc_pyg.data.registry import load_table
from ibc_pyg.data.sample import SAMPLES, make_sample
from ibc_pyg.data.table import Role
from ibc_pyg.errors import ConfigError, DatasetError


@pytest.mark.parametrize("name", SAMPLES)
def test_counts(name, tmp_path):
    root = make_sample(name, tmp_path / "deep" / "down", classes=3, images=5)
    sizes = load_table(name, root, allow_partial=True).sizes()
    assert (sizes.train_classes, sizes.train_images) == (3, 15)
    assert (sizes.test_classes, sizes.test_images) == (3, 15)
    assert sizes.query_images == (6 if name == "inshop" else 15)


@pytest.mark.parametrize("name", SAMPLES)
def test_the_seed_decides_every_byte(name, tmp_path):
    def content(root):
        return {
            file.relative_to(root): file.read_bytes()
            for file in root.rglob("*")
            if file.suffix.lower() in (".jpg", ".txt", ".csv")
        }

    one = content(make_sample(name, tmp_path / "1", classes=2, images=2, seed=5))
    two = content(make_sample(name, tmp_path / "2", classes=2, images=2, seed=5))
    other = content(make_sample(name, tmp_path / "3", classes=2, images=2, seed=6))
    assert one == two
    assert one.keys() == other.keys()
    assert one != other or name == "omniglot"  # its drawings are in the archives


def test_classes_can_be_told_apart(tmp_path):
    """A nearest neighbour on mean colours is right far more often than chance, 1 in 8."""
    table = load_table(
        "sop", make_sample("sop", tmp_path / "x", classes=8, images=6), allow_partial=True
    )
    rows = table.where(Role.TEST)
    x = (
        np.stack(
            [np.asarray(Image.open(table.root / table.paths[row]).resize((6, 6))) for row in rows]
        ).reshape(len(rows), -1)
        / 255.0
    )
    distance = ((x[:, None] - x[None]) ** 2).sum(-1)
    np.fill_diagonal(distance, np.inf)
    hits = table.labels[rows][distance.argmin(1)] == table.labels[rows]
    assert hits.mean() > 0.6


def test_what_is_there_is_not_overwritten(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(DatasetError, match="is not empty"):
        make_sample("cub", tmp_path)


@pytest.mark.parametrize(
    ("options", "field"),
    [({"classes": 1}, "classes"), ({"classes": 41}, "classes"), ({"images": 1}, "images")],
)
def test_numbers_out_of_range(tmp_path, options, field):
    with pytest.raises(ConfigError, match=f"^{field}: "):
        make_sample("cub", tmp_path / "x", **options)


def test_an_unknown_name(tmp_path):
    with pytest.raises(ConfigError, match="no sample of 'glyphs'"):
        make_sample("glyphs", tmp_path / "x")


def test_a_file_in_the_way(tmp_path):
    (tmp_path / "x").touch()
    with pytest.raises(DatasetError, match="cannot be written"):
        make_sample("cub", tmp_path / "x")
