"""Tracking of scalars and pictures."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from ibc_pyg.config.checks import check, check_name


@dataclass
class TrackConfig:
    """Tracking of scalars and pictures, in addition to metrics.jsonl of the run."""

    wandb: Literal["online", "offline", "disabled"] = "disabled"
    """Weights & Biases."""
    project: str = "ibc_pyg"
    """Project in W&B."""
    entity: str | None = None
    """Team or user in W&B."""
    group: str | None = None
    """Group of the run in W&B."""
    tags: list[str] = field(default_factory=list)
    """Tags of the run."""
    trackers: list[str] = field(default_factory=list)
    """Further trackers of your own: FILE.py:NAME, package.module:NAME."""
    every: int = 1
    """Steps between records of the training loss; each record synchronises a GPU."""
    statistics_every: int = 50
    """Steps between records of attention statistics; 0: never."""
    report: bool = True
    """Write report.html at the end of the run."""

    def __post_init__(self) -> None:
        """Check ranges; raise ConfigError."""
        for name in self.trackers:
            check_name("track.trackers", name, ())
        check("track.every", self.every >= 1, ">= 1", self.every)
        often = self.statistics_every
        check("track.statistics_every", often >= 0, ">= 0", often)
