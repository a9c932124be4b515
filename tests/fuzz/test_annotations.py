"""Damaged annotation files: whatever is in them, only a DatasetError that names the file comes."""

import re
import shutil
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from ibc_pyg.data.annotations.matlab import read_strings
from ibc_pyg.data.sample import cars as sample_cars
from ibc_pyg.data.sample import make_sample
from ibc_pyg.data.sets import cars, csv_list, cub, grocery_store, inshop, omniglot, sop
from ibc_pyg.data.table import ImageTable
from ibc_pyg.errors import DatasetError
from tests.helpers.fuzz import EDITS, damage, fuzz

Parse = Callable[[Path], object]


def parse_csv(file: Path) -> object:
    return csv_list.read_csv(file, file.parent)


def parse_archive(file: Path) -> object:
    return list(omniglot.read_archive(file, omniglot.TRAIN))


# Sample, how it is written, the file that is damaged, what reads it, and whether it has lines.
CASES: dict[str, tuple[str, str, Parse, bool]] = {
    "cub images": ("cub", "CUB_200_2011/images.txt", lambda f: cub.cub_annotations(f.parent), True),
    "cub labels": (
        "cub",
        "CUB_200_2011/image_class_labels.txt",
        lambda f: cub.cub_annotations(f.parent),
        True,
    ),
    "cub classes": (
        "cub",
        "CUB_200_2011/classes.txt",
        lambda f: cub.cub_annotations(f.parent),
        True,
    ),
    "cars annos": ("cars", "cars_annos.mat", lambda f: cars.cars_annotations(f.parent), False),
    "cars names": ("cars", "cars_annos.mat", lambda f: read_strings(f, "class_names"), False),
    "cars train": (
        "devkit",
        "devkit/cars_train_annos.mat",
        lambda f: cars.cars_annotations(f.parents[1]),
        False,
    ),
    "cars test": (
        "devkit",
        "cars_test_annos_withlabels.mat",
        lambda f: cars.cars_annotations(f.parent),
        False,
    ),
    "cars text": ("text", "test_labels.txt", lambda f: cars.cars_annotations(f.parent), True),
    "sop": (
        "sop",
        "Stanford_Online_Products/Ebay_test.txt",
        lambda f: sop.sop_annotations(f.parent),
        True,
    ),
    "inshop": ("inshop", "Eval/list_eval_partition.txt", inshop.inshop_annotations, True),
    "grocery list": (
        "grocery_store",
        "val.txt",
        lambda f: grocery_store.grocery_store_annotations(f.parent),
        True,
    ),
    "grocery classes": ("grocery_store", "classes.csv", grocery_store.read_class_names, True),
    "csv": ("csv", "images.csv", parse_csv, True),
    "omniglot": ("omniglot", f"{omniglot.TRAIN}.zip", parse_archive, False),
}


@pytest.fixture(scope="module")
def samples(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("samples")
    for name in ("cub", "cars", "sop", "inshop", "grocery_store", "csv", "omniglot"):
        make_sample(name, root / name, classes=2, images=2)
    (root / "devkit").mkdir()
    sample_cars.write_devkit(root / "devkit", 2, 2, 0)
    shutil.copytree(root / "devkit", root / "text")
    (root / "text" / "cars_test_annos_withlabels.mat").unlink()
    (root / "text" / "test_labels.txt").write_text(
        "00001.jpg 1\n00002.jpg 2\n00003.jpg 99\n00004.jpg 100\n"
    )
    return root


@pytest.mark.parametrize("case", CASES)
def test_damaged_files(case, samples, tmp_path_factory):
    sample, name, parse, has_lines = CASES[case]
    root = tmp_path_factory.mktemp("damaged") / "set"
    shutil.copytree(samples / sample, root)
    file = root / name
    good = file.read_bytes()
    assert parse(file)

    def check(edits):
        file.write_bytes(damage(good, edits))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                result = parse(file)
        except DatasetError as error:
            message = str(error)
            assert message.isprintable(), message
            assert len(message) < 1000
            # Damage in one file can also show as a contradiction with another file of the set.
            assert str(root) in message, message
            if has_lines and "no images listed under" not in message:
                assert re.search(r"\.(txt|csv), line [1-9][0-9]*: ", message), message
        else:
            assert isinstance(result, (ImageTable, list, tuple, dict))

    # Every MATLAB file of the set is read in a process of its own, half a second each.
    fuzz(check, EDITS, examples=4 if case.startswith("cars") else 120)


def test_a_zip_that_claims_too_much_is_refused(tmp_path):
    """A member of a gigabyte of zeros packs to a megabyte; it is never unpacked."""
    file = tmp_path / f"{omniglot.TRAIN}.zip"
    with (
        zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open(f"{omniglot.TRAIN}/Greek/character01/1.png", "w") as member,
    ):
        for _ in range(64):
            member.write(bytes(2**20))
    with pytest.raises(DatasetError, match="too many for a drawing"):
        list(omniglot.read_archive(file, omniglot.TRAIN))
