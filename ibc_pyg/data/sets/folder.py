"""Images in one folder per class."""

from __future__ import annotations

from collections import Counter
from pathlib import Path, PurePosixPath

from ibc_pyg.data.annotations.class_folders import (
    ClassFolder,
    class_folder,
    class_folders,
    loose_pictures,
    passed_over,
)
from ibc_pyg.data.annotations.completeness import check_user_set
from ibc_pyg.data.annotations.folders import checked_root, subfolders
from ibc_pyg.data.annotations.listed_images import ListedImage, build_table
from ibc_pyg.data.annotations.parts import part_role, settle_validation
from ibc_pyg.data.annotations.user_split import split_by_class
from ibc_pyg.data.table import ImageTable, Role
from ibc_pyg.errors import ConfigError, DatasetError, printable, shown

LAYOUTS = ("auto", "classes", "parts")
_OPTION = "--data.options.layout"


def folder_table(
    root: Path,
    *,
    allow_partial: bool = False,
    test_fraction: float = 0.5,
    seed: int = 0,
    layout: str = "auto",
) -> ImageTable:
    """Load `root/<class>/*.jpg`, or `root/<part>/<class>/*.jpg` with given parts.

    Parts are `train`, `val` (see `settle_validation`) and `test`, or `query` and `gallery`; any of
    them may be absent as long as queries have a gallery. Folders of the same name in different
    parts are the same class. Folders and files that are not read are named in the log.

    Args:
        root: The folder.
        allow_partial: Whether classes of one image are allowed; see `check_user_set`.
        test_fraction: Fraction of test classes, in [0, 1], if there are no parts.
        seed: Seed of that draw.
        layout: "classes": each folder is a class; "parts": folders that are named as parts hold
            class folders, and others are left out; "auto": whichever fits.

    Raises:
        DatasetError: If there are no images, a class has one image, or both layouts fit.
        ConfigError: If an option is out of range.
    """
    if layout not in LAYOUTS:
        raise ConfigError(f"data.options.layout: {layout!r} is not one of {', '.join(LAYOUTS)}")
    root = checked_root(root)
    parts = [] if layout == "classes" else _parts(root, layout)
    rows = _rows_of_parts(root, parts) if parts else _rows_of_classes(root)
    if not rows:
        raise DatasetError(
            f"data.root: no images in {printable(root)}; expected one folder per class "
            "with images in it, or train/ and test/ with such folders"
        )
    if parts:
        rows = settle_validation("folder", rows)
    else:
        rows = split_by_class("folder", rows, test_fraction=test_fraction, seed=seed)
    return check_user_set(build_table("folder", root, rows), allow_partial=allow_partial)


def _rows_of_classes(root: Path) -> list[ListedImage]:
    folders = class_folders(root, ".")
    passed_over(folders, loose_pictures(root, ".")).warn("folder")
    return [row for each in folders for row in each.rows(Role.TRAIN)]


def _rows_of_parts(root: Path, parts: list[str]) -> list[ListedImage]:
    found = {part: class_folders(root, part) for part in parts}
    loose = [path for part in (".", *parts) for path in loose_pictures(root, part)]
    folders = [each for inside in found.values() for each in inside]
    empty = [ClassFolder(PurePosixPath(part), (), Counter()) for part in parts if not found[part]]
    passed_over([*folders, *empty], loose, _beside(root, parts)).warn("folder")
    roles = {part: role for part in parts if (role := part_role(part)) is not None}
    return [row for part in parts for each in found[part] for row in each.rows(roles[part])]


def _parts(root: Path, layout: str) -> list[str]:
    """Return the folders that are parts; none if the folders are classes.

    Raises:
        DatasetError: If both layouts fit, or there is no part where one is wanted.
    """
    names = subfolders(root)
    parts = [name for name in names if part_role(name) is not None]
    if layout == "parts":
        if not parts:
            raise DatasetError(
                f"data.options.layout is parts, but {printable(root)} has no folder train, val, "
                "test, query or gallery; remove the option"
            )
        return parts
    if not parts:
        return []
    others = [shown(str(each.path)) for each in _beside(root, parts) if each.images]
    named, where = ", ".join(f"{part}/" for part in parts), printable(root)
    hold_classes = any(
        class_folder(root, PurePosixPath(part) / name).images
        for part in parts
        for name in subfolders(root / part)
    )
    if hold_classes and others:
        raise DatasetError(
            f"data.root: {where} can be read in two ways: {named} as parts with class folders, "
            f"without {', '.join(others[:5])}{', ...' if len(others) > 5 else ''} ({_OPTION} "
            f"parts), or each of these {len(parts) + len(others)} folders as one class ({_OPTION} "
            "classes); choose one"
        )
    if not hold_classes and not others:
        raise DatasetError(
            f"data.root: {named} in {where} hold no class folders with images; make one folder per "
            f"class in each part, or read each of them as a class with {_OPTION} classes"
        )
    return parts if hold_classes else []


def _beside(root: Path, parts: list[str]) -> list[ClassFolder]:
    names = [name for name in subfolders(root) if name not in parts]
    return [class_folder(root, PurePosixPath(name)) for name in names]
