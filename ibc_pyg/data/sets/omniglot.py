"""Omniglot, the two small background sets: handwritten characters of ten alphabets.

Lake, Salakhutdinov, Tenenbaum, *Human-level concept learning through probabilistic program
induction*, Science 2015; https://github.com/brendenlake/omniglot.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt
from PIL import Image

from ibc_pyg.data.annotations.completeness import check_complete
from ibc_pyg.data.annotations.folders import checked_root, images_below
from ibc_pyg.data.annotations.listed_images import ListedImage, build_table, natural
from ibc_pyg.data.annotations.text import path_problem
from ibc_pyg.data.table import ImageTable, Role, SplitSizes
from ibc_pyg.errors import DatasetError, printable, reason, shown
from ibc_pyg.files import open_zip

TRAIN, TEST = "images_background_small1", "images_background_small2"
TEST_ALPHABETS = ("Japanese_(katakana)", "Sanskrit", "Tagalog")  # Greek and Latin are in both
SIZES = SplitSizes(136, 2720, 106, 2120, 2120, 2120)
MAX_MEMBER_BYTES = 2**20  # real drawings have about 300 bytes
MAX_SIDE = 256  # and 105 x 105 pixels
MAX_MEMBERS = 100_000

Pixels = npt.NDArray[np.uint8]


def omniglot_table(root: Path, *, allow_partial: bool = False) -> ImageTable:
    """Load the drawings from the two zip files into memory, or from the unpacked folders.

    The first archive is for training, Katakana, Sanskrit and Tagalog of the second for test.
    Zip files are read in place and not unpacked.

    Args:
        root: Folder with `images_background_small1` and `..._small2`, as `.zip` or unpacked.
        allow_partial: Whether missing drawings are allowed.

    Raises:
        DatasetError: If the set is incomplete, or an archive is damaged.
    """
    root = checked_root(root)
    if (root / "python").is_dir():  # a clone of the repository
        root = root / "python"
    if all((root / part).is_dir() for part in (TRAIN, TEST)):
        table = _from_folders(root)
    elif all((root / f"{part}.zip").is_file() for part in (TRAIN, TEST)):
        table = _from_archives(root)
    else:
        raise DatasetError(
            f"omniglot: {TRAIN}.zip and {TEST}.zip (or both folders) must be in {printable(root)}"
        )
    return check_complete(table, expected=SIZES, allow_partial=allow_partial)


def _row(part: str, path: str) -> ListedImage | None:
    """Return the row of `<part>/<alphabet>/<character>/<drawing>.png`; None if it is not used."""
    parts = PurePosixPath(path).parts
    if len(parts) != 4 or parts[0] != part or parts[-1].startswith("."):
        return None
    if not parts[-1].lower().endswith(".png"):
        return None
    if part == TEST and parts[1] not in TEST_ALPHABETS:
        return None
    return ListedImage(path, f"{parts[1]}/{parts[2]}", Role.TRAIN if part == TRAIN else Role.TEST)


def _from_folders(root: Path) -> ImageTable:
    rows = [_row(part, path) for part in (TRAIN, TEST) for path in images_below(root, part)]
    return build_table("omniglot", root, [row for row in rows if row])


def _from_archives(root: Path) -> ImageTable:
    rows: list[ListedImage] = []
    images: list[Pixels] = []
    for part in (TRAIN, TEST):
        for row, pixels in read_archive(root / f"{part}.zip", part):
            if images and pixels.shape != images[0].shape:
                raise DatasetError(
                    f"{printable(root / part)}.zip: {shown(row.path)} has size {pixels.shape[:2]}, "
                    f"others have {images[0].shape[:2]}"
                )
            rows.append(row)
            images.append(pixels)
    table = build_table("omniglot", None, rows)
    return ImageTable(
        name=table.name,
        paths=table.paths,
        labels=table.labels,
        roles=table.roles,
        class_names=table.class_names,
        images=np.stack(images),  # [M, 105, 105, 1]
    )


def read_archive(file: Path, part: str) -> Iterator[tuple[ListedImage, Pixels]]:
    """Yield the drawings of a zip archive as row and uint8 `[H, W, 1]`, without unpacking it.

    Raises:
        DatasetError: If the archive or a member is damaged or too large; names both.
    """
    where = printable(file)
    try:
        with open_zip(file) as archive:
            members = sorted(archive.infolist(), key=lambda member: natural(member.filename))
            if len(members) > MAX_MEMBERS:
                raise DatasetError(f"{where}: {len(members)} members; this is not Omniglot")
            for member in members:
                row = None if path_problem(member.filename) else _row(part, member.filename)
                if row is not None:
                    yield row, _drawing(archive, member, where)
    except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError, EOFError) as error:
        raise DatasetError(
            f"{where}: damaged zip archive ({reason(error)}); download it again"
        ) from error


def _drawing(archive: zipfile.ZipFile, member: zipfile.ZipInfo, where: str) -> Pixels:
    name = shown(member.filename, 200)
    if member.file_size > MAX_MEMBER_BYTES:
        raise DatasetError(f"{where}: {name} has {member.file_size} bytes, too many for a drawing")
    try:
        with (
            archive.open(member) as stream,
            Image.open(io.BytesIO(stream.read(MAX_MEMBER_BYTES + 1)), formats=["PNG"]) as image,
        ):
            if max(image.size) > MAX_SIDE:
                raise DatasetError(f"{where}: {name} has {image.size} pixels, too many")
            return np.asarray(image.convert("L"), dtype=np.uint8)[..., None]  # [H, W, 1]
    except DatasetError:
        raise
    except Exception as error:  # zipfile, zlib and PIL raise many kinds on damaged members
        raise DatasetError(
            f"{where}: {name} is damaged ({reason(error)}); download it again"
        ) from error
