"""Stanford Online Products: photographs from online sales.

Song, Xiang, Jegelka, Savarese, *Deep Metric Learning via Lifted Structured Feature Embedding*,
CVPR 2016, https://arxiv.org/abs/1511.06452.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path, PurePosixPath

from ibc_pyg.data.annotations.completeness import check_complete
from ibc_pyg.data.annotations.folders import checked_root, find_base, ordered_split
from ibc_pyg.data.annotations.listed_images import ListedImage, build_table
from ibc_pyg.data.annotations.text import read_lines
from ibc_pyg.data.table import ImageTable, Role, SplitSizes
from ibc_pyg.errors import DatasetError, printable

TRAIN_CLASSES = 11_318
SIZES = SplitSizes(11_318, 59_551, 11_316, 60_502, 60_502, 60_502)
SUBFOLDERS = ("Stanford_Online_Products", "Stanford", "SOP", "sop")
LISTS = (("Ebay_train.txt", Role.TRAIN), ("Ebay_test.txt", Role.TEST))
COLUMNS = "image_id class_id super_class_id path"


def read_list(file: Path, role: Role) -> list[ListedImage]:
    """Read `image_id class_id super_class_id path` lines.

    Raises:
        DatasetError: If a line is invalid; names file and line.
    """
    rows = []
    for place, line in enumerate(read_lines(file)):
        fields = line.fields(COLUMNS, long=3)
        if place == 0 and fields == COLUMNS.split():
            continue
        image, label, group, path = fields
        line.integer(image, "image_id")
        line.integer(group, "super_class_id")
        rows.append(
            ListedImage(line.relative_path(path), line.integer(label, "class_id"), role, line)
        )
    return rows


def sop_annotations(base: Path, *, by_class: bool = False) -> ImageTable:
    """Return the table of `Ebay_train.txt` and `Ebay_test.txt`. The image files are not checked.

    Args:
        base: Folder with these files.
        by_class: Whether images are in `images/<class, five digits>/`, the layout of the released
            code, instead of the listed paths.

    Raises:
        DatasetError: If a line is invalid; names file and line.
    """
    train, test = (read_list(base / name, role) for name, role in LISTS)
    trained = {row.label for row in train}
    for row in test:
        if row.label in trained and row.source is not None:
            raise row.source.error(f"class {row.label} is also in {LISTS[0][0]}")
    rows = train + test
    if by_class:
        rows = [
            replace(row, path=f"images/{row.label:05d}/{PurePosixPath(row.path).name}")
            for row in rows
        ]
    return build_table("sop", base, rows)


def sop_table(root: Path, *, allow_partial: bool = False) -> ImageTable:
    """Load Stanford Online Products.

    Args:
        root: Folder (or the one above) with `Ebay_train.txt`, `Ebay_test.txt` and the folders
            `bicycle_final/` ...; or with `images/<class>/` instead of these folders, with or
            without the lists.
        allow_partial: Whether missing images are allowed.

    Raises:
        DatasetError: If the set is incomplete.
    """
    root = checked_root(root)
    base = find_base(root, [name for name, _ in LISTS], SUBFOLDERS)
    if base is not None:
        table = sop_annotations(base, by_class=(base / "images").is_dir())
    else:
        base = find_base(root, ("images",), SUBFOLDERS) or root
        rows = ordered_split(base, TRAIN_CLASSES, ()) if (base / "images").is_dir() else None
        if rows is None:
            raise DatasetError(
                f"sop: neither Ebay_train.txt nor images/<class>/ in {printable(root)}; unpack "
                "Stanford_Online_Products.zip there"
            )
        table = build_table("sop", base, rows)
    return check_complete(table, expected=SIZES, allow_partial=allow_partial)
