"""Names of groups, in a CSV file that people edit, kept from one clustering to the next."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ibc_pyg.collections.clusters import Clusters
from ibc_pyg.errors import RunError, printable, reason
from ibc_pyg.files import read_bounded, write_atomically
from ibc_pyg.plain_text import to_sheet

_CENTRAL = 5
_MOST_BYTES = 2**26
_COLUMNS = ["group", "name", "files", *(f"picture {i}" for i in range(1, _CENTRAL + 1))]


@dataclass(frozen=True)
class GroupName:
    """A name and the pictures by which its group is found again.

    Attributes:
        name: The name.
        pictures: Files of the most central pictures of the group.
    """

    name: str
    pictures: tuple[str, ...]


def read_names(path: Path) -> list[GroupName]:
    """Read the names of a file that `write_names` has written; none if it is missing.

    Raises:
        RunError: If it is not such a file.
    """
    if not path.exists():
        return []
    try:
        lines = read_bounded(path, _MOST_BYTES).decode("utf-8-sig").splitlines()
        rows = list(csv.reader(lines, strict=True))
    except (OSError, ValueError, csv.Error) as error:
        raise RunError(f"{printable(path)} cannot be read: {reason(error)}") from error
    if not rows or rows[0] != _COLUMNS:
        raise RunError(
            f"{printable(path)} is no file of names: its first line must be {','.join(_COLUMNS)}"
        )
    found = []
    for number, row in enumerate(rows[1:], start=2):
        if len(row) != len(_COLUMNS):
            raise RunError(f"{printable(path)}, line {number}: {len(row)} of {len(_COLUMNS)} cells")
        pictures = tuple(_plain(cell) for cell in row[3:] if cell)
        if name := _plain(row[1]).strip():
            found.append(GroupName(name, pictures))
    return found


def with_names(clusters: Clusters, names: Sequence[GroupName]) -> Clusters:
    """Give each name to the group that has most of its pictures, the first of equal ones.

    A group keeps the name of which it has the most pictures.
    """
    group_of = {
        printable(each.path): number
        for number, cluster in enumerate(clusters.clusters)
        for each in cluster.members
    }
    given: dict[int, tuple[int, str]] = {}
    for name in names:
        votes = Counter(group_of[path] for path in name.pictures if path in group_of)
        for number, count in votes.most_common(1):
            if count > given.get(number, (0, ""))[0]:
                given[number] = count, name.name
    named = [
        replace(cluster, name=given.get(number, (0, ""))[1])
        for number, cluster in enumerate(clusters.clusters)
    ]
    return replace(clusters, clusters=named)


def write_names(path: Path, clusters: Clusters, before: Sequence[GroupName]) -> None:
    """Write the names of all groups, empty ones to be filled in; names without a group stay.

    Raises:
        RunError: If the file cannot be written.
    """
    rows: list[list[object]] = [list(_COLUMNS)]
    for number, cluster in enumerate(clusters.clusters, start=1):
        central = [each.path for each in cluster.members[:_CENTRAL]]
        rows.append([number, cluster.name, len(cluster.members), *_padded(central)])
    used = {cluster.name for cluster in clusters.clusters}
    rows += [["", n.name, "", *_padded(n.pictures)] for n in before if n.name not in used]
    write_atomically(path, to_sheet(rows).encode())


def _padded(pictures: Sequence[str]) -> list[str]:
    return [*pictures, *([""] * (_CENTRAL - len(pictures)))]


def _plain(cell: str) -> str:
    """Return a cell without the apostrophe that keeps spreadsheets from evaluating it."""
    return cell[1:] if cell.startswith("'") and not cell[1:2].isalnum() else cell
