"""Changes of an index by hand: names removed, roots moved, space given back, another model."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from ibc_pyg.errors import RunError, printable
from ibc_pyg.retrieval.store.catalogue import (
    Cursor,
    Name,
    drop_name,
    find_name,
    names,
    names_of_row,
    put_name,
    read_state,
    rows_with_label,
    unused_rows,
)
from ibc_pyg.retrieval.store.roots import FILES, Source, move_root, roots
from ibc_pyg.retrieval.store.vectors import Vectors
from ibc_pyg.retrieval.store.writer import StoreWriter

_CHUNK = 4096


def absolute(path: str | os.PathLike[str]) -> Path:
    """Return an absolute path; a link to a file is not followed, links to folders are."""
    path = Path(path)
    return path.resolve() if path.is_dir() else path.parent.resolve() / path.name


def select(
    sql: Cursor, paths: Iterable[str | os.PathLike[str]], labels: Iterable[str], rows: Iterable[int]
) -> list[Name]:
    """Return names that are not removed: by file or folder, by class, or by row.

    Raises:
        RunError: If one of the arguments selects nothing.
    """
    chosen: dict[tuple[int, str], Name] = {}
    for path in paths:
        found = _at(sql, path)
        if not found:
            raise RunError(f"the index has no picture {printable(Path(path))}, and none in it")
        chosen |= {(name.root, name.path): name for name in found}
    for label in labels:
        of_class = rows_with_label(sql, label)
        if not of_class:
            raise RunError(f"the index has no picture of the class {printable(label)}")
        for row in of_class:
            found = [name for name in names_of_row(sql, row) if name.label == label]
            chosen |= {(name.root, name.path): name for name in found}
    last = read_state(sql).rows
    for row in rows:
        found = names_of_row(sql, row) if 0 <= row < last else []
        if not found:
            raise RunError(f"the index has no picture in row {row}")
        chosen |= {(name.root, name.path): name for name in found}
    return list(chosen.values())


def _at(sql: Cursor, path: str | os.PathLike[str]) -> list[Name]:
    """Return the names of a file, or of all files in a folder."""
    place, found = absolute(path), []
    for number, source in roots(sql):
        root = Path(source.root)
        relative = {Path(path).as_posix(), place.as_posix()}
        if place.is_relative_to(root):
            relative.add(place.relative_to(root).as_posix())
        exact = [find_name(sql, number, each) for each in relative]
        found += [name for name in exact if name is not None and not name.removed]
    if found:
        return found
    for number, source in roots(sql):
        root = Path(source.root)
        everything = root.is_relative_to(place)
        # A folder may be given relative to the root; but `.` is that of the process.
        folders = [Path(path).as_posix()] if Path(path).parts else []
        folders += [place.relative_to(root).as_posix()] if place.is_relative_to(root) else []
        inside = tuple(f"{folder}/" for folder in folders)
        found += [
            name
            for name in names(sql, number)
            if not name.removed and (everything or name.path.startswith(inside))
        ]
    return found


def remove_names(writer: StoreWriter, chosen: Iterable[Name]) -> None:
    """Remove names; those that a folder, list or data set names stay out at the next sync."""
    with writer.commit() as sql:
        single = {number for number, source in roots(sql) if source.kind == FILES}
        for name in chosen:
            if name.root in single:
                drop_name(sql, name.root, name.path)
            else:
                put_name(sql, replace(name, removed=True))


def compact(writer: StoreWriter) -> int:
    """Rewrite the vectors without those that no file has; return their number."""
    with writer.catalogue.reading() as sql:
        unused = set(unused_rows(sql))
    if not unused:
        return 0
    kept = [row for row in range(writer.state.rows) if row not in unused]
    vectors = writer.map()

    def parts() -> Iterator[Vectors]:
        for start in range(0, len(kept), _CHUNK):
            yield vectors[kept[start : start + _CHUNK]]

    writer.rewrite(((old, new) for new, old in enumerate(kept)), parts())
    return len(unused)


def relocate(writer: StoreWriter, new: Path, old: Path | None) -> tuple[Source, Source]:
    """Change the folder of a root; return the source before and after.

    Args:
        writer: The index.
        new: Where the pictures are now.
        old: Where they were; None if the index has one root.

    Raises:
        RunError: If the root is not clear, or none of its pictures is in the new folder.
    """
    new = new.resolve()
    with writer.catalogue.reading() as sql:
        known = roots(sql)
        if old is not None:
            known = [each for each in known if Path(each[1].root) in (old, old.resolve())]
        if len(known) != 1:
            places = ", ".join(printable(source.root) for _, source in roots(sql))
            raise RunError(f"say which folder was moved: --from FOLDER, one of {places}")
        number, before = known[0]
        there = (name.path for name in names(sql, number) if not name.removed)
        if not any((new / path).is_file() for path in there):
            raise RunError(
                f"{printable(new)} has none of the pictures of {before}; give the folder that "
                "took its place"
            )
    file = before.file
    if file is not None and Path(file).is_relative_to(before.root):
        file = str(new / Path(file).relative_to(before.root))
    after = replace(before, root=str(new), file=file)
    with writer.commit() as sql:
        move_root(sql, number, after)
    return before, after
