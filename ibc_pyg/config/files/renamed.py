"""Paths of experiment files as users name them: files, shipped experiments, and old names."""

from __future__ import annotations

import functools
import logging
import re
from collections.abc import Sequence
from pathlib import Path

from ibc_pyg.config.files.shipped import shipped, shipped_matches

_logger = logging.getLogger(__name__)

# Pattern in a path with forward slashes, and its replacement.
_RENAMED = (
    (r"(^|/)graph_plus/auxiliary(?=/)", r"\1with_graph/ce_on_embeddings"),
    (r"(^|/)graph_plus(?=/)", r"\1with_graph"),
    (r"(?<![^/])(proxy_anchor|soft_triple)_even(?=(_graph(_ce)?)?\.yaml$)", r"\1_equal_lr"),
)


def current_path(path: Path) -> Path:
    """Return the path under which an experiment file is found today.

    Args:
        path: A file, or the name of a shipped experiment, as the user gave it.

    Returns:
        `path`, if there is such a file; else the file of its new name, with a warning that names
        both, once for each path; else the shipped experiment of that name; else `path`.
    """
    if _is_file(path):
        return path
    new = _renamed(path)
    found = new if _is_file(new) else shipped(new)
    if found is None:
        return path
    if new != path:
        _warn(path, new)
    return found


def expand_renamed(paths: Sequence[Path]) -> list[Path]:
    """Replace each pattern that names a renamed or a shipped folder by the files in it.

    A shell hands over `experiments/graph_plus/*.yaml` as it stands where nothing matches it.
    """
    expanded: list[Path] = []
    for path in paths:
        new = _renamed(path)
        matches: list[Path] = []
        if "*" in path.name:
            matches = sorted(new.parent.glob(new.name)) or shipped_matches(new)
        if matches and new != path:
            _warn(path, new)
        expanded += matches or [path]
    return expanded


def _is_file(path: Path) -> bool:
    """Return whether there is such a file; a folder of an experiment's name is not one."""
    try:
        return path.is_file()
    except OSError:  # the name is too long
        return False


def _renamed(path: Path) -> Path:
    name = path.as_posix()
    for pattern, replacement in _RENAMED:
        name = re.sub(pattern, replacement, name)
    return Path(name)


@functools.cache
def _warn(old: Path, new: Path) -> None:
    _logger.warning("%s is now %s", old, new)
