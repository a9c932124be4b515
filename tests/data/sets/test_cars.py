import shutil
from collections import Counter

import numpy as np
import pytest
from scipy.io import loadmat, savemat

from ibc_pyg.data.registry import load_table
from ibc_pyg.data.sample import cars as sample_cars
from ibc_pyg.data.sample import make_sample
from ibc_pyg.data.sets import cars
from ibc_pyg.data.table import Role, SplitSizes
from ibc_pyg.errors import DatasetError

SIZES = SplitSizes(3, 12, 3, 12, 12, 12)


@pytest.fixture(autouse=True)
def _small(request, monkeypatch):
    """Let a sample of three classes of four images count as whole."""
    if "shared" not in request.fixturenames:
        monkeypatch.setattr(cars, "SIZES", SIZES)


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    return make_sample("cars", tmp_path_factory.mktemp("cars") / "set", classes=3, images=4)


@pytest.fixture(scope="module")
def sample_table(sample):
    return load_table("cars", sample, allow_partial=True)


@pytest.fixture
def annos(sample, tmp_path):
    return shutil.copytree(sample, tmp_path / "annos")


@pytest.fixture
def devkit(tmp_path):
    root = tmp_path / "devkit set"
    root.mkdir()
    sample_cars.write_devkit(root, 3, 4, 0)
    return root


def counts(table):
    return Counter(table.class_names[label] for label in table.labels)


def test_official_annotations_class_by_class(shared):
    base = shared / "data" / "cars196_metadata"
    table = cars.cars_annotations(base)
    assert table.sizes() == SplitSizes(98, 8054, 98, 8131, 8131, 8131)
    # Read again in another way: squeezed by scipy, and the text file by numpy.
    names = loadmat(base / "cars_meta.mat", squeeze_me=True)["class_names"]
    train = loadmat(base / "cars_train_annos.mat", squeeze_me=True)["annotations"]["class"]
    test = np.loadtxt(base / "test_labels.txt", usecols=1, dtype=int)
    assert len(train) == 8144
    assert len(test) == 8041
    labels = np.concatenate([train.astype(int), test])
    assert counts(table) == Counter(names[label - 1] for label in labels)
    assert table.class_names == tuple(names)
    assert (table.roles == np.where(labels <= 98, Role.TRAIN.value, Role.TEST.value)).all()
    assert sum(path.startswith("cars_test/") for path in table.paths) == 8041


def test_the_devkit_without_labels_of_the_test_images(shared, tmp_path):
    for name in ("cars_train_annos.mat", "cars_test_annos.mat", "cars_meta.mat"):
        shutil.copy(shared / "data" / "cars196_metadata" / name, tmp_path)
    with pytest.raises(DatasetError, match=r"add cars_test_annos_withlabels\.mat or test_labels"):
        load_table("cars", tmp_path)


def test_all_layouts_give_the_same_classes(annos, devkit, tmp_path):
    first = load_table("cars", annos)
    second = load_table("cars", devkit)
    assert counts(first) == counts(second)
    assert first.sizes() == second.sizes() == SIZES

    # Labels as text instead of the labelled .mat file.
    entries = loadmat(devkit / "cars_test_annos_withlabels.mat", squeeze_me=True)["annotations"]
    lines = [f"{entry['fname']} {entry['class']}" for entry in entries]
    (devkit / "cars_test_annos_withlabels.mat").unlink()
    (devkit / "test_labels.txt").write_text("\r\n".join([*lines, ""]))
    assert counts(load_table("cars", devkit)) == counts(first)

    # Kaggle's copy has each image folder within itself.
    for part in ("cars_train", "cars_test"):
        (devkit / part).rename(tmp_path / "moving")
        (devkit / part).mkdir()
        (tmp_path / "moving").rename(devkit / part / part)
    nested = load_table("cars", devkit)
    assert counts(nested) == counts(first)
    assert nested.paths[0].startswith("cars_train/cars_train/")


@pytest.mark.parametrize("layout", ["images/{0}", "CARS196/images/{0}", "{0}", "{1}/{0}"])
@pytest.mark.parametrize("numbered", [True, False])
def test_class_folders(sample_table, tmp_path, monkeypatch, layout, numbered):
    table = sample_table
    monkeypatch.setattr(cars, "TRAIN_CLASSES", 3)
    for row, path in enumerate(table.paths):
        name = table.class_names[table.labels[row]]
        folder = layout.format(name.split()[2] if numbered else name, ("train", "test")[row % 2])
        (tmp_path / "folders" / folder).mkdir(parents=True, exist_ok=True)
        shutil.copy(table.root / path, tmp_path / "folders" / folder / f"{row}.JPG")
        (tmp_path / "folders" / folder / f"._{row}.JPG").touch()  # as macOS leaves them
    found = load_table("cars", tmp_path / "folders")
    assert found.sizes() == SIZES
    assert sorted(counts(found).values()) == sorted(counts(table).values())
    trained = {found.class_names[label] for label in found.labels[found.where(Role.TRAIN)]}
    assert {name.replace("Sample Car ", "").split()[0] for name in trained} == {"1", "2", "3"}


def test_labels_from_zero(annos, sample_table):
    content = loadmat(annos / "cars_annos.mat")
    for entry in content["annotations"].flat:
        entry["class"] = entry["class"] - 1
    savemat(annos / "cars_annos.mat", {k: content[k] for k in ("annotations", "class_names")})
    after = load_table("cars", annos)
    assert counts(after) == counts(sample_table)
    assert (after.labels == sample_table.labels).all()


@pytest.mark.parametrize(
    ("field", "value", "problem"),
    [
        ("class", 197, "class 197 is not in 1 ... 196"),
        ("class", 1.5, "field class is not a non-negative integer"),
        ("class", "one", "field class is not a single number"),
        ("class", np.array([1, 2]), "field class is not a single number"),
        ("relative_im_path", "../x.jpg", "leaves the folder of the data set"),
        ("relative_im_path", 7, "field relative_im_path is not a text"),
    ],
)
def test_errors_name_the_entry(annos, field, value, problem):
    content = loadmat(annos / "cars_annos.mat")
    content["annotations"][0, 4][field] = value
    savemat(annos / "cars_annos.mat", {"annotations": content["annotations"]})
    with pytest.raises(DatasetError) as caught:
        load_table("cars", annos)
    assert "cars_annos.mat, entry 5: " in str(caught.value)
    assert problem in str(caught.value)


@pytest.mark.parametrize("data", [b"", b"\x80\x04cos\nsystem\n", b"\x89HDF\r\n\x1a\n" + bytes(600)])
def test_another_file_is_refused(annos, data):
    (annos / "cars_annos.mat").write_bytes(data)
    with pytest.raises(
        DatasetError, match=r"cars_annos\.mat: not a readable MATLAB file.*download it again"
    ):
        load_table("cars", annos)
