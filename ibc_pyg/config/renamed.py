"""Experiment files that were renamed: old paths are read under their new ones, with a warning."""

from __future__ import annotations

import functools
import logging
import re
from collections.abc import Sequence
from pathlib import Path

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
        path: A file, as the user named it.

    Returns:
        `path`, or its new name if there is no such file and there is one of the new name; a
        warning then names both, once for each path.
    """
    new = _renamed(path)
    if new == path or path.exists() or not new.is_file():
        return path
    _warn(path, new)
    return new


def expand_renamed(paths: Sequence[Path]) -> list[Path]:
    """Replace each pattern that names a renamed folder by the files that it matches there.

    A shell hands over `experiments/graph_plus/*.yaml` as it stands, since nothing matches it.
    """
    expanded: list[Path] = []
    for path in paths:
        new = _renamed(path)
        matches = sorted(new.parent.glob(new.name)) if "*" in path.name and new != path else []
        if matches:
            _warn(path, new)
        expanded += matches or [path]
    return expanded


def _renamed(path: Path) -> Path:
    name = path.as_posix()
    for pattern, replacement in _RENAMED:
        name = re.sub(pattern, replacement, name)
    return Path(name)


@functools.cache
def _warn(old: Path, new: Path) -> None:
    _logger.warning("%s is now %s", old, new)
