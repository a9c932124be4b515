"""Images in one folder per class."""

from __future__ import annotations

from pathlib import Path

from ibc_pyg.data.annotations.completeness import check_user_set
from ibc_pyg.data.annotations.folders import checked_root, class_rows, subfolders
from ibc_pyg.data.annotations.listed_images import ListedImage, build_table
from ibc_pyg.data.annotations.user_split import split_by_class
from ibc_pyg.data.table import ImageTable, Role
from ibc_pyg.errors import DatasetError, printable

PARTS = {
    "train": Role.TRAIN,
    "test": Role.TEST,
    "query": Role.QUERY,
    "gallery": Role.GALLERY,
}


def folder_table(
    root: Path, *, allow_partial: bool = False, test_fraction: float = 0.5, seed: int = 0
) -> ImageTable:
    """Load `root/<class>/*.jpg`, or `root/<part>/<class>/*.jpg` with given parts.

    Parts are `train` with `test`, or `train` with `query` and `gallery`; any of them may be
    absent as long as queries have a gallery. Folders of the same name in different parts are the
    same class.

    Args:
        root: The folder.
        allow_partial: Whether classes of one image are allowed; see `check_user_set`.
        test_fraction: Fraction of test classes, in [0, 1], if there are no parts.
        seed: Seed of that draw.

    Raises:
        DatasetError: If there are no images, or a class has one image.
        ConfigError: If `test_fraction` is out of range.
    """
    root = checked_root(root)
    names = subfolders(root)
    rows: list[ListedImage]
    if names and set(names) <= set(PARTS):
        rows = [row for name in names for row in class_rows(root, name, PARTS[name])]
    else:
        rows = class_rows(root, ".", Role.TRAIN)
    if not rows:
        raise DatasetError(
            f"data.root: no images in {printable(root)}; expected one folder per class "
            "with images in it, or train/ and test/ with such folders"
        )
    if not set(names) <= set(PARTS):
        rows = split_by_class("folder", rows, test_fraction=test_fraction, seed=seed)
    return check_user_set(build_table("folder", root, rows), allow_partial=allow_partial)
