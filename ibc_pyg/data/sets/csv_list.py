"""Images listed in a CSV file `path,label[,split]`."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from pathlib import Path

from ibc_pyg.data.annotations.completeness import check_user_set
from ibc_pyg.data.annotations.folders import checked_root
from ibc_pyg.data.annotations.listed_images import ListedImage, build_table
from ibc_pyg.data.annotations.text import Line, read_text
from ibc_pyg.data.annotations.user_split import split_by_class
from ibc_pyg.data.sets.folder import PARTS
from ibc_pyg.data.table import ImageTable, Role
from ibc_pyg.errors import DatasetError, printable, shown

COLUMNS = ("path", "label", "split")


def read_csv(file: Path) -> tuple[list[ListedImage], bool]:
    """Read the rows of a CSV file, separated by commas, semicolons or tabs.

    Returns:
        The images, and whether the file has a column `split`.

    Raises:
        DatasetError: If a line is invalid; names file and line.
    """
    text = read_text(file)
    first = text.split("\n", 1)[0]
    delimiter = next((mark for mark in ",;\t" if mark in first), ",")
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    rows: list[ListedImage] = []
    lines: dict[str, tuple[int, int]] = {}  # path -> (place in rows, line number)
    header: list[str] | None = None
    try:
        for record in reader:
            line = Line(file, reader.line_num, delimiter.join(record))
            cells = [cell.strip() for cell in record]
            if not any(cells):
                continue
            if header is None:
                header = _header(line, cells)
                continue
            row = _row(line, header, cells)
            if row.path not in lines:
                lines[row.path] = (len(rows), line.number)
                rows.append(row)
                continue
            place, number = lines[row.path]
            before = rows[place]
            if before.label != row.label or before.role | row.role != Role.TEST:
                raise line.error(f"image {shown(row.path)} is already in line {number}")
            if before.role & row.role:
                raise line.error(f"image {shown(row.path)} is already in line {number}")
            rows[place] = replace(before, role=Role.TEST)
    except csv.Error as error:
        raise Line(file, reader.line_num, "").error(str(error)) from error
    if not rows:
        raise DatasetError(f"{printable(file)}, line 1: no images listed")
    return rows, header is not None and "split" in header


def _header(line: Line, cells: list[str]) -> list[str]:
    names = [cell.lower() for cell in cells]
    if not {"path", "label"} <= set(names) or len(set(names)) != len(names):
        raise line.error(f"the header must be `path,label[,split]`, found {shown(line.text)}")
    return names


def _row(line: Line, header: list[str], cells: list[str]) -> ListedImage:
    if len(cells) != len(header):
        raise line.error(f"{len(cells)} fields, but the header has {len(header)}")
    path, label, split = (
        cells[header.index(name)] if name in header else "train" for name in COLUMNS
    )
    if not label:
        raise line.error("the label is empty")
    if not label.isprintable():
        raise line.error(f"label {shown(label)} has control characters")
    if "\\" in path and "/" not in path:
        path = path.replace("\\", "/")  # written on Windows
    # Unlike the list of an archive, the user's own may contain absolute paths and `..`.
    line.relative_path(path.replace("..", "").lstrip("/"))
    if split.lower() not in PARTS:
        raise line.error(f"split {shown(split)} is not one of {', '.join(PARTS)}")
    return ListedImage(path, label, PARTS[split.lower()])


def csv_table(
    root: Path,
    *,
    allow_partial: bool = False,
    file: Path | str | None = None,
    test_fraction: float = 0.5,
    seed: int = 0,
) -> ImageTable:
    """Load the images of a CSV file with the columns `path`, `label` and optionally `split`.

    Labels are any text. `split` is one of train, test, query and gallery; without that column,
    test classes are drawn at random.

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
    rows, has_split = read_csv(Path(file))
    if not has_split:
        rows = split_by_class("csv", rows, test_fraction=test_fraction, seed=seed)
    return check_user_set(build_table("csv", root, rows), allow_partial=allow_partial)
