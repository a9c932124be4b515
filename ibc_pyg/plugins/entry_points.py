"""Names that installed packages add, by entry points of the group `ibc_pyg.plugins`."""

from __future__ import annotations

from importlib.metadata import entry_points

GROUP = "ibc_pyg.plugins"


def entry_point_names() -> list[str]:
    """Return the names of all installed entry points of the group, sorted."""
    return sorted({each.name for each in entry_points(group=GROUP)})


def entry_point(name: str) -> str | None:
    """Return the reference `package.module:NAME` behind a name; None if no package adds it.

    Nothing is imported. Where several packages add one name, the first of their references in
    alphabetical order is returned.
    """
    found = sorted(each.value for each in entry_points(group=GROUP, name=name))
    return found[0].partition("[")[0].strip() if found else None
