"""Adding of pictures by hand: single files, or further sources."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from ibc_pyg.errors import ConfigError, RunError, printable
from ibc_pyg.retrieval.store.catalogue import Cursor, find_name
from ibc_pyg.retrieval.store.roots import FILES, TREE, Part, Source, roots
from ibc_pyg.retrieval.store.writer import StoreWriter
from ibc_pyg.retrieval.update.edit import absolute
from ibc_pyg.retrieval.update.report import SyncReport
from ibc_pyg.retrieval.update.scan import find_source, is_list
from ibc_pyg.retrieval.update.sync import Work, add_files, sync_source

PathLike = str | os.PathLike[str]
Group = dict[Source, list[tuple[str, str | None]]]


def add_pictures(
    writer: StoreWriter,
    pictures: Sequence[PathLike],
    label: str | None,
    root: PathLike | None,
    part: Part,
    work: Work,
) -> SyncReport:
    """Add files and sources to an index; see `Index.add`.

    Raises:
        UserError: If one of them is missing or cannot be used; then nothing is added.
    """
    sources, files = [], []
    for each in pictures:
        if root is None and not Path(each).exists():
            raise RunError(f"there is no {printable(Path(each))} to add")
        if root is None and Path(each).is_file() and not is_list(each):
            files.append(absolute(each))
        else:
            sources.append(find_source(each, root, part))
    if label is not None and not label.strip():
        raise ConfigError("the label is empty; leave it out")
    label = None if label is None else printable(label)
    if label is not None and sources:
        raise ConfigError("a label is given to single files; folders and lists have their own")
    report = SyncReport()
    for source, members in _grouped(writer, files, label).items():
        report += add_files(writer, source, members, work)
    for source in sources:
        report += sync_source(writer, source, work, trust_code=True)
    return report


def _grouped(writer: StoreWriter, files: Sequence[Path], label: str | None) -> Group:
    """Divide files among the roots of an index, and a new one for those outside of them."""
    groups: Group = {}
    outside = []
    with writer.catalogue.reading() as sql:
        known = [source for _, source in roots(sql)]
        for file in files:
            place = _known_place(sql, file)
            tree = next((s for s in known if s.kind == TREE and file.is_relative_to(s.root)), None)
            if place is None and tree is None:
                outside.append(file)
                continue
            if label is not None:
                raise ConfigError(
                    f"{printable(file)} is in the index or in one of its folders, and has its "
                    "class from there; add it without a label"
                )
            if place is not None:
                source, member = place
                groups.setdefault(source, []).append(member)
            elif tree is not None:
                path = file.relative_to(tree.root)
                own = printable(path.parent.name) or None
                groups.setdefault(tree, []).append((path.as_posix(), own))
    for file in outside:
        single = next((s for s in known if s.kind == FILES and file.is_relative_to(s.root)), None)
        if single is None:
            common = os.path.commonpath([each.parent for each in outside])
            single = Source(FILES, common)
        path = file.relative_to(single.root)
        groups.setdefault(single, []).append((path.as_posix(), label))
    return groups


def _known_place(sql: Cursor, file: Path) -> tuple[Source, tuple[str, str | None]] | None:
    """Return the root of a file that has a name, possibly a removed one, with path and class."""
    for number, source in roots(sql):
        if file.is_relative_to(source.root):
            name = find_name(sql, number, file.relative_to(source.root).as_posix())
            if name is not None:
                return source, (name.path, name.label)
    return None
