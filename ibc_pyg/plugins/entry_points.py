"""Names that installed packages add, by entry points of the group `ibc_pyg.plugins`."""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points

GROUP = "ibc_pyg.plugins"


def entry_point_names() -> list[str]:
    """Return the names of all installed entry points of the group, sorted."""
    return sorted({each.name for each in entry_points(group=GROUP)})


def entry_point(name: str) -> str | None:
    """Return the reference `package.module:NAME` behind a name; None if no package adds it.

    Nothing is imported. Where several packages add one name, the first of their references in
    alphabetical order is returned.
    """
    found = _find(name)
    return None if found is None else found.value.partition("[")[0].strip()


def entry_point_package(name: str) -> tuple[str, str] | None:
    """Return name and version of the installed package that adds a name; None without one."""
    package = getattr(_find(name), "dist", None)
    return None if package is None else (package.name, package.version)


def _find(name: str) -> EntryPoint | None:
    found = entry_points(group=GROUP, name=name)
    return min(found, key=lambda each: each.value, default=None)
