"""Where scalars and pictures go."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from ibc_pyg.config.checks import check


@dataclass
class TrackConfig:
    """Where scalars and pictures go, besides the run's own metrics.jsonl."""

    wandb: Literal["online", "offline", "disabled"] = "disabled"
    """Weights & Biases."""
    project: str = "ibc_pyg"
    """Project at W&B."""
    entity: str | None = None
    """Team or user at W&B."""
    group: str | None = None
    """Runs of one group are shown together."""
    tags: list[str] = field(default_factory=list)
    """Tags of the run."""
    every: int = 1
    """Steps between records of the training loss; on a GPU each record waits for the device."""
    statistics_every: int = 50
    """Steps between records of what attention falls on; 0: never."""
    report: bool = True
    """Write report.html at the end."""

    def __post_init__(self) -> None:
        """Check ranges; raise ConfigError."""
        check("track.every", self.every >= 1, ">= 1", self.every)
        often = self.statistics_every
        check("track.statistics_every", often >= 0, ">= 0", often)
