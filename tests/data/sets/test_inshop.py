import shutil
from pathlib import PurePosixPath

import pytest

from ibc_pyg.data.registry import load_table
from ibc_pyg.data.sample import inshop as sample_inshop
from ibc_pyg.data.sets import inshop
from ibc_pyg.data.table import Role, SplitSizes
from ibc_pyg.errors import ConfigError, DatasetError

SIZES = SplitSizes(3, 15, 3, 15, 6, 9)


@pytest.fixture
def sample(tmp_path, monkeypatch):
    monkeypatch.setattr(inshop, "SIZES", SIZES)
    root = tmp_path / "In-shop Clothes Retrieval Benchmark"
    root.mkdir()
    sample_inshop.write(root, 3, 5, 0)
    return root


def test_published_sizes():
    # Liu et al. 2016: 52,712 images of 7,982 clothing items.
    assert inshop.SIZES.train_images + inshop.SIZES.test_images == 52_712
    assert inshop.SIZES.train_classes + inshop.SIZES.test_classes == 7_982
    assert inshop.SIZES.query_images + inshop.SIZES.gallery_images == inshop.SIZES.test_images


def test_query_and_gallery_are_apart(sample):
    table = load_table("inshop", sample.parent)
    assert table.sizes() == SIZES
    assert not set(table.where(Role.QUERY)) & set(table.where(Role.GALLERY))
    assert table.class_names == tuple(f"id_{n:08d}" for n in range(1, 7))
    for path, label in zip(table.paths, table.labels, strict=True):
        assert PurePosixPath(path).parts[-2] == table.class_names[label]


@pytest.mark.parametrize("folder", ["Eval", "Anno", "."])
@pytest.mark.parametrize("images", ["img", "Img/img", "img_highres", "Img/img_highres"])
def test_layouts(sample, folder, images):
    before = load_table("inshop", sample)
    (sample / folder).mkdir(exist_ok=True)
    shutil.move(sample / "Eval" / inshop.PARTITION, sample / folder / inshop.PARTITION)
    if images != "img":
        (sample / images).parent.mkdir(exist_ok=True)
        (sample / "img").rename(sample / images)
    after = load_table("inshop", sample)
    assert (after.labels == before.labels).all()
    assert after.paths == tuple(path.replace("img/", f"{images}/", 1) for path in before.paths)


def test_both_sizes_side_by_side(sample):
    shutil.copytree(sample / "img", sample / "img_highres")
    assert load_table("inshop", sample).paths[0].startswith("img/")
    assert load_table("inshop", sample, high_resolution=True).paths[0].startswith("img_highres/")
    with pytest.raises(ConfigError, match=r"data\.options\.high_resolution: 'yes'"):
        load_table("inshop", sample, high_resolution="yes")
    shutil.rmtree(sample / "img_highres")
    with pytest.raises(DatasetError, match="30 of 30 images are missing"):
        load_table("inshop", sample, high_resolution=True)


def test_class_folders_of_the_released_code(sample):
    before = load_table("inshop", sample)
    for path, label in zip(before.paths, before.labels, strict=True):
        folder = sample / "images" / f"{int(before.class_names[label][3:]):06d}"
        folder.mkdir(parents=True, exist_ok=True)
        (sample / path).rename(folder / PurePosixPath(path).name)
    after = load_table("inshop", sample)
    assert (after.labels == before.labels).all()
    assert (after.roles == before.roles).all()


@pytest.mark.parametrize(
    ("line", "text", "problem"),
    [
        (1, "31", "the count is 31, but 30 images are listed"),
        (1, "many", "the number of images must be a non-negative integer"),
        (2, "image item status", "expected `image_name item_id evaluation_status`"),
        (9, "img/a.jpg id_00000001 val", "status 'val' is not one of train, query, gallery"),
        (9, "img/a.jpg id_x train", "item_id must be a non-negative integer"),
        (9, "img/a.jpg", "expected `image_name item_id evaluation_status`"),
        (9, "/img/a.jpg id_00000001 train", "leaves the folder of the data set"),
    ],
)
def test_errors_name_file_and_line(sample, line, text, problem):
    file = sample / "Eval" / inshop.PARTITION
    lines = file.read_text().splitlines()
    lines[line - 1] = text
    file.write_text("\r\n".join(lines))
    with pytest.raises(DatasetError) as caught:
        load_table("inshop", sample)
    assert f"{inshop.PARTITION}, line {line}: " in str(caught.value)
    assert problem in str(caught.value)


def test_a_part_leaves_out_queries_without_gallery(sample, caplog):
    table = load_table("inshop", sample)
    gone = [
        row for row in table.where(Role.GALLERY) if table.class_names[table.labels[row]][-1] == "5"
    ]
    for row in gone:
        (sample / table.paths[row]).unlink()
    part = load_table("inshop", sample, allow_partial=True)
    assert part.sizes() == SplitSizes(3, 15, 2, 10, 4, 6)
    assert "2 test images have no other image of their class" in caplog.text
