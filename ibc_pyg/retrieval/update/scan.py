"""Listing of the pictures of a folder, a CSV file or a data set."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ibc_pyg.data.images.pictures import list_pictures
from ibc_pyg.data.registry import DATASETS, dataset_info, load_table
from ibc_pyg.data.sets.csv_list import read_csv
from ibc_pyg.data.table import Role
from ibc_pyg.errors import ConfigError, DatasetError, RunError, printable, program
from ibc_pyg.plugins import entry_point, is_reference, named_file
from ibc_pyg.retrieval.store.roots import LIST, PARTS, TARS, TREE, Part, Source, is_url


@dataclass(frozen=True, slots=True)
class Listed:
    """A picture file of a source.

    Attributes:
        path: Path relative to the root.
        label: Class; None without one.
        size: Bytes; None if the file cannot be found.
        mtime_ns: Time of its last change, or None.
    """

    path: str
    label: str | None
    size: int | None
    mtime_ns: int | None


def find_source(
    images: str | os.PathLike[str], root: str | os.PathLike[str] | None = None, part: Part = "all"
) -> Source:
    """Return the source that a user means.

    Args:
        images: A folder, a CSV file `path,label[,split]`, or with `root` the name of a data set or
            a reference to code of the user that makes one.
        root: Folder of the data set.
        part: Which images of a CSV file or a data set.

    Raises:
        ConfigError: If the part or the data set is unknown or does not apply.
        DatasetError: If there is no such folder or file.
    """
    if part not in PARTS:
        raise ConfigError(f"part must be one of {', '.join(PARTS)}, not {part!r}")
    if root is not None:
        return Source(_dataset(os.fspath(images)), str(Path(root).resolve()), part=part)
    path = Path(images).resolve()
    if path.is_dir():
        if part != "all":
            raise ConfigError(f"part = {part} needs a CSV file or a data set, not a folder")
        return Source(TREE, str(path))
    if is_list(path) and path.is_file():
        return Source(LIST, str(path.parent), str(path), part)
    if path.exists():
        raise DatasetError(
            f"{printable(path)} is neither a folder nor a CSV file; single pictures are added to "
            "an index by `index add`"
        )
    if is_reference(os.fspath(images)):
        raise ConfigError(
            f"the data set {printable(os.fspath(images))} needs the folder of its pictures: --root"
        )
    raise DatasetError(
        f"there is no folder or CSV file {printable(path)}; a data set is given by its name and "
        "its root"
    )


def _dataset(name: str) -> str:
    """Return the kind of the source that a data set is; the file of a reference is absolute."""
    if name not in DATASETS and (is_reference(name) or entry_point(name) is not None):
        file = named_file(name)
        return name if file is None else f"{file.resolve()}:{name.rpartition(':')[2]}"
    info = dataset_info(name)
    if not info.needs_root:
        raise ConfigError(f"the data set {info.name} has no picture files; give one with files")
    return info.name


def is_list(file: str | os.PathLike[str]) -> bool:
    """Tell by its suffix whether a file is a list of pictures."""
    return Path(file).suffix.lower() in (".csv", ".tsv", ".txt")


def list_source(source: Source, *, trust_code: bool) -> list[Listed]:
    """List the pictures of a source, in the order in which an index embeds them.

    Links to folders are not followed, links to files are. The class of a picture in a folder is
    the name of the folder it is in; pictures at the top have none.

    Args:
        source: The source.
        trust_code: Whether code of the user that makes its data set may be imported: the user
            named it, or trusts the index that does.

    Raises:
        DatasetError: If the folder, the file or the data set cannot be read.
        RunError: If its code is not trusted.
    """
    if is_reference(source.kind) and not trust_code:
        raise RunError(
            f"listing the pictures of {source} would import {printable(source.kind)}, which is no "
            "part of ibc_pyg; if you trust that code, name it, as index build did, or add "
            "--trust-code"
        )
    if source.kind == TARS or is_url(source.root):
        raise DatasetError(
            f"{source} is not listed again: plan a new job with it (index plan), and merge that"
        )
    root = Path(source.root)
    if not root.is_dir():
        raise DatasetError(
            f"the folder {printable(root)} is missing; if it was moved: "
            f"{program()} index relocate INDEX NEW_FOLDER"
        )
    return [_with_stat(root, path, label) for path, label in _paths(source, root)]


def list_files(root: Path, files: Iterable[tuple[str, str | None]]) -> list[Listed]:
    """List single files: paths relative to `root`, and classes."""
    return [_with_stat(root, path, label) for path, label in files]


def _paths(source: Source, root: Path) -> Iterator[tuple[str, str | None]]:
    if source.kind == TREE:
        for file in list_pictures(root):
            path = file.relative_to(root)
            folder = path.parent.name
            yield path.as_posix(), printable(folder) if folder else None
    elif source.kind == LIST:
        images, _ = read_csv(Path(source.file or ""), root)
        for image in images:
            if source.part == "all" or image.role & Role[source.part.upper()]:
                yield image.path, str(image.label)
    else:
        table = load_table(source.kind, root, allow_partial=True)
        if table.root is None:
            raise ConfigError(f"the data set {source.kind} has no picture files")
        base = os.path.relpath(table.root, root)
        chosen = range(len(table))
        if source.part != "all":
            chosen = table.where(Role[source.part.upper()]).tolist()
        for row in chosen:
            place = Path(base, table.paths[row]).as_posix()
            yield place, table.class_names[int(table.labels[row])]


def _with_stat(root: Path, path: str, label: str | None) -> Listed:
    try:
        status = (root / path).stat()
    except (OSError, ValueError):
        return Listed(path, label, None, None)
    return Listed(path, label, status.st_size, status.st_mtime_ns)
