"""Cars196 (Stanford Cars): photographs of 196 models of cars.

Krause, Stark, Deng, Fei-Fei, *3D Object Representations for Fine-Grained Categorization*, 3dRR
workshop at ICCV 2013.
"""

from __future__ import annotations

from pathlib import Path

from ibc_pyg.data.annotations.completeness import check_complete
from ibc_pyg.data.annotations.folders import checked_root, find_base, ordered_split
from ibc_pyg.data.annotations.listed_images import ListedImage, build_table, class_base
from ibc_pyg.data.annotations.matlab import MatEntry, read_strings, read_struct
from ibc_pyg.data.annotations.text import Line, read_lines
from ibc_pyg.data.table import ImageTable, Role, SplitSizes
from ibc_pyg.errors import DatasetError, printable

TRAIN_CLASSES = 98
CLASSES = 196
SIZES = SplitSizes(98, 8054, 98, 8131, 8131, 8131)
SUBFOLDERS = ("CARS196", "Cars196", "cars196", "CARS", "stanford_cars", "cars")
TRAIN_LIST = "cars_train_annos.mat"
LABELLED_LIST = "cars_test_annos_withlabels.mat"
TEXT_LIST = "test_labels.txt"

Listed = tuple[str, int, MatEntry | Line]


def _find(base: Path, name: str) -> Path | None:
    """Return a devkit file, in the folder itself or in `devkit/`, or None."""
    files = (base / name, base / "devkit" / name, base / "car_devkit" / "devkit" / name)
    return next((file for file in files if file.exists()), None)


def _images_folder(base: Path, name: str) -> str:
    """Return the folder of the images; some copies nest it in a folder of the same name."""
    return f"{name}/{name}" if (base / name / name).is_dir() else name


def _from_one_list(base: Path, file: Path) -> list[Listed]:
    entries = read_struct(file, "annotations", ("relative_im_path", "class"))
    return [(entry.path("relative_im_path"), entry.integer("class"), entry) for entry in entries]


def _from_devkit(base: Path, train: Path) -> list[Listed]:
    folder = _images_folder(base, "cars_train")
    rows: list[Listed] = [
        (f"{folder}/{entry.path('fname')}", entry.integer("class"), entry)
        for entry in read_struct(train, "annotations", ("fname", "class"))
    ]
    folder = _images_folder(base, "cars_test")
    labelled, text = _find(base, LABELLED_LIST), _find(base, TEXT_LIST)
    if labelled is not None:
        rows += [
            (f"{folder}/{entry.path('fname')}", entry.integer("class"), entry)
            for entry in read_struct(labelled, "annotations", ("fname", "class"))
        ]
    elif text is not None:
        for line in read_lines(text):
            name, label = line.fields("file class", long=0)
            rows.append(
                (f"{folder}/{line.relative_path(name)}", line.integer(label, "class"), line)
            )
    else:
        raise DatasetError(
            f"cars: {printable(base)} has no labels of the test images; the devkit's "
            f"cars_test_annos.mat lacks them: add {LABELLED_LIST} or {TEXT_LIST}"
        )
    return rows


def cars_annotations(base: Path) -> ImageTable:
    """Return the table of `cars_annos.mat`, or of the devkit if there is no such file.

    The devkit's own split is pooled: classes 1-98 are for training, 99-196 for test. The image
    files are not checked.

    Args:
        base: Folder with `cars_annos.mat`, or with the devkit's files in it or in `devkit/`.

    Raises:
        DatasetError: If an entry or line is invalid; names it.
    """
    one, train = _find(base, "cars_annos.mat"), _find(base, TRAIN_LIST)
    if one is not None:
        listed = _from_one_list(base, one)
    elif train is not None:
        listed = _from_devkit(base, train)
    else:
        raise DatasetError(f"cars: neither cars_annos.mat nor {TRAIN_LIST} in {printable(base)}")
    first = class_base([label for _, label, _ in listed])
    rows = []
    for path, label, source in listed:
        if not first <= label < first + CLASSES:
            raise source.error(f"class {label} is not in {first} ... {first + CLASSES - 1}")
        role = Role.TRAIN if label - first < TRAIN_CLASSES else Role.TEST
        rows.append(ListedImage(path, label, role, source))
    names_file = one or _find(base, "cars_meta.mat")
    names = read_strings(names_file, "class_names") if names_file is not None else []
    return build_table("cars", base, rows, dict(enumerate(names, start=first)))


def cars_table(root: Path, *, allow_partial: bool = False) -> ImageTable:
    """Load Cars196 from any of its common layouts.

    Args:
        root: Folder (or the one above) with `cars_annos.mat` and `car_ims/`; or with `devkit/`,
            `cars_train/` and `cars_test/` and the labels of the test images as
            `cars_test_annos_withlabels.mat` or `test_labels.txt` (`file class`); or with
            `images/<class>/`, `<class>/`, or `train/<class>/` and `test/<class>/`, classes in
            natural order.
        allow_partial: Whether missing images are allowed.

    Raises:
        DatasetError: If the set is incomplete.
    """
    root = checked_root(root)
    markers = [f"{part}{n}" for part in ("", "devkit/") for n in ("cars_annos.mat", TRAIN_LIST)]
    markers.append(f"car_devkit/devkit/{TRAIN_LIST}")
    base = find_base(root, markers, SUBFOLDERS)
    if base is not None:
        table = cars_annotations(base)
    else:
        base = find_base(root, ("images", "train"), SUBFOLDERS) or root
        rows = ordered_split(base, TRAIN_CLASSES, ("train", "test"))
        if rows is None:
            raise DatasetError(
                f"cars: neither cars_annos.mat nor devkit/ nor class folders with images in "
                f"{printable(root)}"
            )
        table = build_table("cars", base, rows)
    return check_complete(table, expected=SIZES, allow_partial=allow_partial)
