"""Tracking of scalars and pictures."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from ibc_pyg.config.checks import Range, check_name, check_ranges


@dataclass
class TrackConfig:
    """Tracking of scalars and pictures, in addition to metrics.jsonl of the run."""

    wandb: Literal["online", "offline", "disabled"] = "disabled"
    """Weights & Biases."""
    project: str | None = None
    """Project in W&B; none: that of WANDB_PROJECT, else ibc_pyg."""
    entity: str | None = None
    """Team or user in W&B; none: that of WANDB_ENTITY, else of the key."""
    name: str | None = None
    """Name of the run in W&B; none: that of WANDB_NAME, else of its folder, or of setting and
    seed in a comparison."""
    group: str | None = None
    """Group of the run in W&B; none: that of WANDB_RUN_GROUP, else of the comparison."""
    tags: list[str] = field(default_factory=list)
    """Tags of the run."""
    trackers: list[str] = field(default_factory=list)
    """Further trackers of your own: FILE.py:NAME, package.module:NAME."""
    every: Annotated[int, Range(1, 10**9)] = 1
    """Steps between records of the training loss; each record synchronises a GPU."""
    statistics_every: Annotated[int, Range(0, 10**9)] = 50
    """Steps between records of attention statistics; 0: never."""
    report: bool = True
    """Write report.html at the end of the run."""

    def __post_init__(self) -> None:
        """Check ranges; raise ConfigError."""
        check_ranges("track", self)
        for name in self.trackers:
            check_name("track.trackers", name, ())
