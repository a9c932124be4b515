"""In-Shop Clothes Retrieval of DeepFashion: shop photographs with queries and a gallery.

Liu, Luo, Qiu, Wang, Tang, *DeepFashion: Powering Robust Clothes Recognition and Retrieval with
Rich Annotations*, CVPR 2016, https://mmlab.ie.cuhk.edu.hk/projects/DeepFashion/InShopRetrieval.html.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path, PurePosixPath

from ibc_pyg.data.annotations.completeness import check_complete
from ibc_pyg.data.annotations.folders import checked_root, find_base
from ibc_pyg.data.annotations.listed_images import ListedImage, build_table
from ibc_pyg.data.annotations.text import Line, read_lines
from ibc_pyg.data.table import ImageTable, Role, SplitSizes
from ibc_pyg.errors import ConfigError, DatasetError, printable, shown

SIZES = SplitSizes(3997, 25_882, 3985, 26_830, 14_218, 12_612)
PARTITION = "list_eval_partition.txt"
PLACES = tuple(f"{folder}{PARTITION}" for folder in ("Eval/", "Anno/", "eval/", "anno/", ""))
SUBFOLDERS = (
    "In-shop Clothes Retrieval Benchmark",
    "In-shop",
    "In_shop",
    "InShop",
    "inshop",
    "In_shop_clothes_retrieval",
)
COLUMNS = "image_name item_id evaluation_status"
STATUS = {"train": Role.TRAIN, "query": Role.QUERY, "gallery": Role.GALLERY}


def read_partition(file: Path) -> list[ListedImage]:
    """Read `list_eval_partition.txt`: a count, column names, then `image item status` lines.

    Raises:
        DatasetError: If a line or the count is wrong; names file and line.
    """
    lines = read_lines(file)
    first, second = next(lines, None), next(lines, None)
    if first is None or second is None:
        raise DatasetError(f"{printable(file)}, line 1: the file is empty")
    count = first.integer(first.text, "the number of images")
    if second.fields(COLUMNS) != COLUMNS.split():
        raise second.error(f"expected `{COLUMNS}`, found {shown(second.text)}")
    rows = list(_rows(lines))
    if len(rows) != count:
        raise first.error(f"the count is {count}, but {len(rows)} images are listed")
    return rows


def _rows(lines: Iterable[Line]) -> Iterable[ListedImage]:
    for line in lines:
        path, item, status = line.fields(COLUMNS, long=0)
        if status not in STATUS:
            raise line.error(f"status {shown(status)} is not one of {', '.join(STATUS)}")
        _, _, number = item.rpartition("_")
        line.integer(number, "item_id")
        yield ListedImage(line.relative_path(path), f"id_{int(number):08d}", STATUS[status], line)


def _place(
    base: Path, rows: list[ListedImage], *, high_resolution: bool | None
) -> list[ListedImage]:
    """Replace the listed paths by those of the layout found in `base`."""
    if (base / "images").is_dir():  # images/<item, six digits>/<file>, of the released code
        return [
            replace(r, path=f"images/{int(str(r.label)[3:]):06d}/{PurePosixPath(r.path).name}")
            for r in rows
        ]
    wanted = {None: ("img", "img_highres"), False: ("img",), True: ("img_highres",)}
    folders = [
        f"{outer}{inner}" for inner in wanted[high_resolution] for outer in ("", "Img/", "img/")
    ]
    tops = {PurePosixPath(row.path).parts[1:2] for row in rows}
    folder = next(
        (f for f in folders if any((base / f).joinpath(*top).is_dir() for top in tops)),
        folders[1],
    )
    return [replace(r, path=f"{folder}/{r.path.removeprefix('img/')}") for r in rows]


def inshop_annotations(file: Path) -> ImageTable:
    """Return the table of the partition file with its paths. The image files are not checked.

    Raises:
        DatasetError: If a line is invalid; names file and line.
    """
    return build_table("inshop", file.parent, read_partition(file))


def inshop_table(
    root: Path, *, allow_partial: bool = False, high_resolution: bool | None = None
) -> ImageTable:
    """Load In-Shop Clothes; queries are searched for in the gallery.

    Args:
        root: Folder (or the one above) with `list_eval_partition.txt` in `Eval/` or `Anno/`, and
            `img/` or `img_highres/`, there or in `Img/`; or with `images/<item>/`.
        allow_partial: Whether missing images are allowed.
        high_resolution: Whether to read `img_highres/`; None reads it if `img/` is absent.

    Raises:
        DatasetError: If the set is incomplete.
        ConfigError: If `high_resolution` is another value.
    """
    if high_resolution not in (None, False, True):
        raise ConfigError(
            f"data.options.high_resolution: {high_resolution!r} is not one of true, false, null"
        )
    root = checked_root(root)
    base = find_base(root, PLACES, SUBFOLDERS)
    if base is None:
        raise DatasetError(f"inshop: no {PARTITION} in Eval/ or Anno/ of {printable(root)}")
    file = next(base / place for place in PLACES if (base / place).exists())
    rows = _place(base, read_partition(file), high_resolution=high_resolution)
    table = build_table("inshop", base, rows)
    return check_complete(table, expected=SIZES, allow_partial=allow_partial)
