"""CUB-200-2011: photographs of 200 bird species.

Wah, Branson, Welinder, Perona, Belongie, *The Caltech-UCSD Birds-200-2011 Dataset*, technical
report CNS-TR-2011-001, https://www.vision.caltech.edu/datasets/cub_200_2011.
"""

from __future__ import annotations

from pathlib import Path

from ibc_pyg.data.annotations.completeness import check_complete
from ibc_pyg.data.annotations.folders import checked_root, find_base, ordered_split
from ibc_pyg.data.annotations.listed_images import ListedImage, build_table, class_base
from ibc_pyg.data.annotations.text import Line, read_lines
from ibc_pyg.data.table import ImageTable, Role, SplitSizes
from ibc_pyg.errors import DatasetError, printable

TRAIN_CLASSES = 100
CLASSES = 200
SIZES = SplitSizes(100, 5864, 100, 5924, 5924, 5924)
SUBFOLDERS = ("CUB_200_2011", "CUB_200_2011/CUB_200_2011", "CUB-200-2011", "cub")


def read_pairs(file: Path, names: str) -> dict[int, tuple[Line, str]]:
    """Read `number rest` lines, such as `images.txt`.

    Raises:
        DatasetError: If a line is invalid or a number occurs twice; names file and line.
    """
    pairs: dict[int, tuple[Line, str]] = {}
    for line in read_lines(file):
        number, text = line.fields(names, long=1)
        key = line.integer(number, names.split()[0])
        if key in pairs:
            raise line.error(f"{names.split()[0]} {key} is already in line {pairs[key][0].number}")
        pairs[key] = (line, text)
    return pairs


def cub_annotations(base: Path) -> ImageTable:
    """Return the table of `images.txt`, `image_class_labels.txt` and `classes.txt`.

    Classes 1-100 are for training, 101-200 for test. The image files are not checked.

    Args:
        base: Folder with these files; `classes.txt` is optional.

    Raises:
        DatasetError: If a line is invalid; names file and line.
    """
    images = read_pairs(base / "images.txt", "image_id path")
    labels = {
        image: (line, line.integer(text, "class_id"))
        for image, (line, text) in read_pairs(
            base / "image_class_labels.txt", "image_id class_id"
        ).items()
    }
    first = class_base([label for _, label in labels.values()])
    rows = []
    for image, (line, path) in images.items():
        if image not in labels:
            raise line.error(f"image {image} has no class in image_class_labels.txt")
        label_line, label = labels[image]
        if not first <= label < first + CLASSES:
            raise label_line.error(f"class {label} is not in {first} ... {first + 199}")
        role = Role.TRAIN if label - first < TRAIN_CLASSES else Role.TEST
        rows.append(ListedImage(f"images/{line.relative_path(path)}", label, role, line))
    if extra := sorted(set(labels) - set(images)):
        raise labels[extra[0]][0].error(f"image {extra[0]} is not in images.txt")
    names: dict[int, str] = {}
    if (base / "classes.txt").exists():
        pairs = read_pairs(base / "classes.txt", "class_id name")
        names = {number: text for number, (_, text) in pairs.items()}
    return build_table("cub", base, rows, names)


def cub_table(root: Path, *, allow_partial: bool = False) -> ImageTable:
    """Load CUB-200-2011 from its archive's layout, or from class folders.

    Args:
        root: Folder with `images.txt` and `images/`, or the one above; or a folder with
            `images/<class>/`, classes in natural order, as the paper's code reads them.
        allow_partial: Whether missing images are allowed.

    Raises:
        DatasetError: If the set is incomplete.
    """
    root = checked_root(root)
    base = find_base(root, ("images.txt",), SUBFOLDERS)
    if base is not None:
        table = cub_annotations(base)
    else:
        base = find_base(root, ("images",), SUBFOLDERS) or root
        rows = ordered_split(base, TRAIN_CLASSES, ())
        if rows is None:
            raise DatasetError(
                f"cub: neither images.txt nor images/<class>/ in {printable(root)}; unpack "
                "CUB_200_2011.tgz there"
            )
        table = build_table("cub", base, rows)
    return check_complete(table, expected=SIZES, allow_partial=allow_partial)
