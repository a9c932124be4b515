"""Optimiser, schedule and device."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from ibc_pyg.config.checks import check, check_finite


@dataclass
class TrainConfig:
    """Optimiser, schedule and device."""

    epochs: int = 12
    """Walks over the training images."""
    lr: float = 4e-3
    """Learning rate at the start."""
    backbone_lr_factor: float = 1.0
    """The backbone's learning rate is this times `lr`."""
    weight_decay: float = 0.0
    """L2 penalty of RAdam."""
    decoupled_weight_decay: bool = False
    """The penalty shrinks the weights directly, as in the authors' RAdam, not by the gradient."""
    lr_milestones: list[float] = field(default_factory=lambda: [5.0, 9.0])
    """Epochs after which the learning rate is multiplied by `lr_factor`."""
    lr_factor: float = 0.1
    """What each milestone multiplies the learning rate by."""
    reload_best_at: list[int] = field(default_factory=list)
    """Epochs after which training goes on from the best weights so far, as the released code does
    after 30 and 50; needs `select` val or test."""
    warmup_steps: int = 0
    """Steps over which the learning rate rises from zero."""
    clip_norm: float | None = None
    """Largest gradient norm; none: not clipped."""
    evaluate_every: int = 1
    """Epochs between evaluations while training; 0: only at the end."""
    checkpoint_every: int = 1
    """Epochs between checkpoints."""
    on_divergence: Literal["stop", "restart"] = "stop"
    """What to do when a loss or a gradient is not finite. stop: end with a message; restart: go
    back to the last checkpoint with half the learning rate."""
    max_restarts: int = 5
    """After so many restarts a divergence stops the run."""
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    """Number format of the training step."""
    channels_last: bool = False
    """Keep images and kernels in channels-last memory format."""
    device: str = "auto"
    """auto, cpu or cuda."""
    threads: int = 0
    """CPU threads of torch; 0: torch's own choice."""
    seed: int = 0
    """Drives everything that is random."""

    def __post_init__(self) -> None:
        """Check ranges; raise ConfigError."""
        check_finite("train", self)
        check("train.epochs", self.epochs >= 1, ">= 1", self.epochs)
        check("train.lr", self.lr > 0, "> 0", self.lr)
        factor = self.backbone_lr_factor
        check("train.backbone_lr_factor", factor >= 0, ">= 0", factor)
        check("train.weight_decay", self.weight_decay >= 0, ">= 0", self.weight_decay)
        in_order = self.lr_milestones == sorted(self.lr_milestones)
        check(
            "train.lr_milestones",
            in_order and all(epoch > 0 for epoch in self.lr_milestones),
            "ascending epochs > 0",
            self.lr_milestones,
        )
        check(
            "train.reload_best_at",
            all(epoch >= 1 for epoch in self.reload_best_at),
            "epochs >= 1",
            self.reload_best_at,
        )
        check("train.lr_factor", 0 < self.lr_factor <= 1, "in (0, 1]", self.lr_factor)
        check("train.warmup_steps", self.warmup_steps >= 0, ">= 0", self.warmup_steps)
        check(
            "train.clip_norm", self.clip_norm is None or self.clip_norm > 0, "> 0", self.clip_norm
        )
        check("train.evaluate_every", self.evaluate_every >= 0, ">= 0", self.evaluate_every)
        check("train.checkpoint_every", self.checkpoint_every >= 1, ">= 1", self.checkpoint_every)
        check("train.max_restarts", self.max_restarts >= 0, ">= 0", self.max_restarts)
        check(
            "train.device", self.device in ("auto", "cpu", "cuda"), "auto, cpu or cuda", self.device
        )
        check("train.threads", self.threads >= 0, ">= 0", self.threads)
        check("train.seed", 0 <= self.seed < 2**32, "in [0, 2^32)", self.seed)
