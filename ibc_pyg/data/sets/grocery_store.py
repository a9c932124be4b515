"""GroceryStoreDataset: photographs of 81 grocery products, taken in shops.

Klasson, Zhang, Kjellström, *A Hierarchical Grocery Store Image Dataset with Visual and Semantic
Labels*, WACV 2019, https://arxiv.org/abs/1901.00711.
"""

from __future__ import annotations

import csv
import io
from pathlib import Path

from ibc_pyg.data.annotations.completeness import check_complete
from ibc_pyg.data.annotations.folders import checked_root, find_base
from ibc_pyg.data.annotations.listed_images import ListedImage, build_table
from ibc_pyg.data.annotations.text import Line, read_lines, read_text
from ibc_pyg.data.table import ImageTable, Role, SplitSizes
from ibc_pyg.errors import DatasetError, printable

TRAIN_CLASSES = 41
CLASSES = 81
SIZES = SplitSizes(41, 3051, 40, 2370, 2370, 2370)
LISTS = ("train.txt", "val.txt", "test.txt")
COMMIT = "b545e4c5db0a77d9274bc7753eb409f83772a3a5"
"""Commit of the repository that is downloaded."""
SUBFOLDERS = (
    "dataset",
    "grocery_store",
    "GroceryStoreDataset/dataset",
    "GroceryStoreDataset-master/dataset",
    f"GroceryStoreDataset-{COMMIT}/dataset",
)


def read_list(file: Path) -> list[tuple[str, int, Line]]:
    """Read `path, fine class, coarse class` lines; return path, fine class and line.

    Raises:
        DatasetError: If a line is invalid; names file and line.
    """
    rows = []
    for line in read_lines(file):
        path, label, coarse = line.fields("path class coarse_class", sep=",", long=0)
        line.integer(coarse, "coarse class")
        rows.append((line.relative_path(path), line.integer(label, "class"), line))
    return rows


def read_class_names(file: Path) -> dict[int, str]:
    """Read the first two columns, name and number, of `classes.csv`.

    Raises:
        DatasetError: If a line is invalid; names file and line.
    """
    names: dict[int, str] = {}
    reader = csv.reader(io.StringIO(read_text(file), newline=""), strict=True)
    try:
        next(reader, None)  # column titles
        for record in reader:
            line = Line(file, reader.line_num, ",".join(record))
            if not any(record):
                continue
            name, label, *_ = line.fields("name class", sep=",") if len(record) < 2 else record
            names[line.integer(label.strip(), "class")] = name.strip()
    except csv.Error as error:
        raise Line(file, reader.line_num, "").error(str(error)) from error
    return names


def grocery_store_annotations(base: Path) -> ImageTable:
    """Return the table of the three lists; classes 0-40 are for training, 41-80 for test.

    Raises:
        DatasetError: If a line is invalid; names file and line.
    """
    listed = [row for name in LISTS for row in read_list(base / name)]
    names = read_class_names(base / "classes.csv") if (base / "classes.csv").exists() else {}
    labels = {label for _, label, _ in listed}
    first = 1 if CLASSES in labels and 0 not in labels else 0
    rows = []
    for path, label, line in listed:
        if not first <= label < first + CLASSES:
            raise line.error(f"class {label} is not in {first} ... {first + CLASSES - 1}")
        role = Role.TRAIN if label - first < TRAIN_CLASSES else Role.TEST
        rows.append(ListedImage(path, label, role, line))
    return build_table("grocery_store", base, rows, names)


def grocery_store_table(root: Path, *, allow_partial: bool = False) -> ImageTable:
    """Load GroceryStoreDataset from the folder with `train.txt`, `val.txt` and `test.txt`.

    Args:
        root: That folder, or the folder of the repository, which contains `dataset/`.
        allow_partial: Whether missing images are allowed.

    Raises:
        DatasetError: If the set is incomplete.
    """
    root = checked_root(root)
    base = find_base(root, LISTS, SUBFOLDERS)
    if base is None:
        raise DatasetError(
            f"grocery_store: no train.txt, val.txt and test.txt in {printable(root)}"
        )
    return check_complete(
        grocery_store_annotations(base), expected=SIZES, allow_partial=allow_partial
    )
