"""Paths in a user's list of images, in one spelling for each file."""

from __future__ import annotations

import os
import re
import unicodedata
from pathlib import Path

from ibc_pyg.data.annotations.text import Line
from ibc_pyg.errors import shown


class UserPaths:
    """Reader of the paths in a list, as people and Windows programs write them.

    Args:
        root: Folder of relative paths.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._names: dict[str, dict[str, str]] = {}
        self._tops = tuple(
            dict.fromkeys(os.fspath(top) + "/" for top in (root.absolute(), root.resolve()))
        )

    def read(self, line: Line, cell: str) -> str:
        """Return the path of an image, relative to the root if the image is in it.

        Backslashes of Windows become slashes, `.` and white space around the path are removed, and
        names are taken in the Unicode form of the file; a file named just as written is preferred.

        Raises:
            DatasetError: If the path names no file, has control characters or a drive letter.
        """
        path = cell.strip()
        if path != cell and _is_file(self.root / cell):
            path = cell
        if "\\" in path and not _is_file(self.root / path):
            path = path.replace("\\", "/")
        # Unlike the list of an archive, the user's own may contain absolute paths and `..`.
        line.relative_path(path.replace("..", "").lstrip("/"))
        if re.match(r"[A-Za-z]:/", path):
            raise line.error(
                f"image path {shown(path)} is of a Windows drive; write it relative to the folder "
                "of the list"
            )
        start = "/" if path.startswith("/") else ""
        path = start + "/".join(part for part in path.split("/") if part not in ("", "."))
        for top in self._tops:
            if start and path.startswith(top) and len(path) > len(top):
                path = path[len(top) :]
                break
        return path if path.isascii() or path.startswith("/") else self._as_on_disk(path)

    def _as_on_disk(self, path: str) -> str:
        """Return the path in the Unicode form of the file names, NFC or NFD, if it exists."""
        if os.path.lexists(self.root / path):
            return path
        folder, found = "", []
        for part in path.split("/"):
            if folder not in self._names:
                self._names[folder] = _by_form(self.root / folder)
            found.append(self._names[folder].get(_form(part), part))
            folder = "/".join(found)
        return folder


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that no file can have
        return False


def _form(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _by_form(folder: Path) -> dict[str, str]:
    try:
        return {_form(entry.name): entry.name for entry in folder.iterdir()}
    except OSError:
        return {}
