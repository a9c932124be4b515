"""Account of what a build, sync or add did."""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass
class SyncReport:
    """Numbers of files, by what became of them.

    Attributes:
        added: New content.
        changed: Known path with other content.
        renamed: New path of a content whose former path is gone.
        copied: New path of a content that keeps a path.
        gone: Known paths that are not there any more.
        unchanged: Known path with known content.
        removed: Paths that were removed by hand, and are left out.
        skipped: Files that cannot be read or decoded.
        embedded: Contents that the network has seen.
    """

    added: int = 0
    changed: int = 0
    renamed: int = 0
    copied: int = 0
    gone: int = 0
    unchanged: int = 0
    removed: int = 0
    skipped: int = 0
    embedded: int = 0

    def __add__(self, other: SyncReport) -> SyncReport:
        """Return the sum of two accounts."""
        return SyncReport(
            *(getattr(self, each.name) + getattr(other, each.name) for each in fields(self))
        )

    def __str__(self) -> str:
        """Return the numbers that are not zero, as a phrase."""
        parts = [
            f"{getattr(self, each.name):,} {each.name}"
            for each in fields(self)
            if each.name != "embedded" and getattr(self, each.name)
        ]
        return f"{', '.join(parts) or 'nothing to do'} ({self.embedded:,} embedded)"
