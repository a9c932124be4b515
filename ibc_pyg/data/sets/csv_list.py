"""Images listed in a CSV file `path,label[,split]`."""

from __future__ import annotations

import logging
import os
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ibc_pyg.data.annotations.completeness import check_user_set
from ibc_pyg.data.annotations.csv_rows import CsvRow, read_csv_rows
from ibc_pyg.data.annotations.folders import checked_root
from ibc_pyg.data.annotations.listed_images import ListedImage, build_table
from ibc_pyg.data.annotations.parts import PARTS, part_role, settle_validation
from ibc_pyg.data.annotations.user_paths import UserPaths
from ibc_pyg.data.annotations.user_split import split_by_class
from ibc_pyg.data.table import ImageTable, Role
from ibc_pyg.errors import DatasetError, printable, shown

FLAGS = {"is_query": Role.QUERY, "is_gallery": Role.GALLERY}
_TRUE = ("true", "1", "1.0", "yes")
_FALSE = ("false", "0", "0.0", "no", "", "nan", "none")

_logger = logging.getLogger(__name__)


def read_csv(file: Path, root: Path) -> tuple[list[ListedImage], bool]:
    """Read the images of a CSV file; see `csv_table`.

    Args:
        file: The file.
        root: Folder of relative paths.

    Returns:
        The images, and whether the file has a column `split`.

    Raises:
        DatasetError: If a line is invalid; names file and line.
    """
    paths = UserPaths(root)
    rows: list[ListedImage] = []
    lines: dict[str, tuple[int, int]] = {}  # path -> (place in rows, line number)
    has_split = False
    for record in read_csv_rows(file):
        has_split = "split" in record.cells
        row = _row(record, paths)
        key = os.path.normpath(row.path)
        if key not in lines:
            lines[key] = (len(rows), record.line.number)
            rows.append(row)
            continue
        place, number = lines[key]
        before = rows[place]
        roles = before.role, row.role
        if before.label != row.label or set(roles) != {Role.QUERY, Role.GALLERY}:
            raise record.line.error(f"image {shown(row.path)} is already in line {number}")
        rows[place] = replace(before, role=Role.TEST)
    if not rows:
        raise DatasetError(f"{printable(file)}, line 1: no images listed")
    return _one_form_of_numbers(rows), has_split


def _row(record: CsvRow, paths: UserPaths) -> ListedImage:
    line = record.line
    label = unicodedata.normalize("NFC", record.cells["label"].strip())
    if not label:
        raise line.error("the label is empty")
    if not label.isprintable():
        raise line.error(f"label {shown(label)} has control characters")
    path = paths.read(line, record.cells["path"])
    split = record.cells.get("split", "train").strip()
    role = part_role(split)
    if role is None:
        raise line.error(f"split {shown(split)} is not one of {', '.join(PARTS)}")
    return ListedImage(path, label, _flagged(record, role))


def _flagged(record: CsvRow, role: Role) -> Role:
    """Return the role of an image with the columns `is_query` and `is_gallery` taken in.

    Raises:
        DatasetError: If they contradict the role.
    """
    given = {name: record.cells[name].strip().lower() for name in FLAGS if name in record.cells}
    for name, cell in given.items():
        if cell not in _TRUE + _FALSE:
            raise record.line.error(f"{name} {shown(cell)} is not true or false")
    marked = Role(0)
    for name, cell in given.items():
        if cell in _TRUE:
            marked |= FLAGS[name]
    if role in (Role.TEST, Role.VAL):
        if not marked and any(given.values()):
            raise record.line.error("a test image must be query or gallery, but is neither")
        kept = Role(0) if role == Role.TEST else role
        return kept | marked if marked else role
    if marked and "split" not in record.cells:
        raise record.line.error("is_query and is_gallery need a column `split`")
    if marked and marked != role:
        raise record.line.error(
            f"{' and '.join(each for each in given if given[each] in _TRUE)} contradict the split "
            + shown(record.cells["split"].strip())
        )
    return role


def _one_form_of_numbers(rows: Sequence[ListedImage]) -> list[ListedImage]:
    """Give `3.0`, as programs write a column with gaps, the label `3` if both occur."""
    labels = {str(row.label) for row in rows}
    found = {each: re.fullmatch(r"(-?[0-9]+)\.0+", each) for each in labels}
    same = {each: match[1] for each, match in found.items() if match and match[1] in labels}
    if not same:
        return list(rows)
    first, number = min(same.items())
    _logger.warning(
        "csv: %d labels are written in two ways and read as one class each, such as %s and %s",
        len(set(same.values())),
        number,
        first,
    )
    return [replace(row, label=same.get(str(row.label), row.label)) for row in rows]


def csv_table(
    root: Path,
    *,
    allow_partial: bool = False,
    file: Path | str | None = None,
    test_fraction: float = 0.5,
    seed: int = 0,
) -> ImageTable:
    """Load the images of a CSV file with the columns `path`, `label` and optionally `split`.

    Labels are any text. `split` is one of train, val (see `settle_validation`), test, query and
    gallery; without that column, test classes are drawn at random. `is_query` and `is_gallery`
    divide the test images; other columns are not used.

    Args:
        root: The CSV file, or the folder of the images with `images.csv` in it.
        allow_partial: Whether missing files and classes of one image are allowed.
        file: The CSV file, if it is not `root/images.csv`.
        test_fraction: Fraction of test classes, in [0, 1], if there is no column `split`.
        seed: Seed of that draw.

    Raises:
        DatasetError: If a line is invalid, or images are missing.
        ConfigError: If `test_fraction` is out of range.
    """
    root = root.expanduser()
    if file is None and root.is_file():
        root, file = root.parent, root
    root = checked_root(root)
    if file is None:
        file = root / "images.csv"
    rows, has_split = read_csv(Path(file), root)
    if has_split:
        rows = settle_validation("csv", rows)
    else:
        rows = split_by_class("csv", rows, test_fraction=test_fraction, seed=seed)
    return check_user_set(build_table("csv", root, rows), allow_partial=allow_partial)
