"""Optimiser, schedule and device."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Literal

from ibc_pyg.config.checks import check, check_finite, check_name

SCHEDULES = ("steps", "cosine")
"""Schedules of this package."""


@dataclass
class TrainConfig:
    """Optimiser, schedule and device."""

    epochs: int = 12
    """Number of epochs."""
    optimizer: str = "RAdam"
    """Name in torch.optim, or FILE.py:NAME."""
    optimizer_args: dict[str, Any] = field(default_factory=dict)
    """Further arguments of the optimiser."""
    lr: float = 4e-3
    """Initial learning rate."""
    backbone_lr_factor: float = 1.0
    """Factor of `lr` for the backbone."""
    weight_decay: float = 0.0
    """Weight decay of the optimiser; the L2 penalty of RAdam."""
    decoupled_weight_decay: bool = False
    """Apply the penalty to the weights directly, as in the authors' RAdam, not to the gradient."""
    freeze_backbone_epochs: float = 0.0
    """Number of first epochs in which only the new last layer of the backbone is trained; its batch
    normalisations keep their statistics."""
    schedule: str = "steps"
    """steps: reduce the learning rate at `lr_milestones`; cosine: along half a cosine to
    `lr_min_factor`; or FILE.py:NAME."""
    schedule_args: dict[str, Any] = field(default_factory=dict)
    """Arguments of a schedule of your own."""
    lr_milestones: list[float] = field(default_factory=lambda: [5.0, 9.0])
    """Epochs after which the learning rate is multiplied by `lr_factor`, with schedule steps."""
    lr_factor: float = 0.1
    """Factor of the learning rate at each milestone."""
    lr_min_factor: float = 0.0
    """Final factor of the learning rate, with schedule cosine."""
    reload_best_at: list[int] = field(default_factory=list)
    """Epochs after which training continues from the best weights so far, as in the released code
    after 30 and 50; needs `select` val or test."""
    warmup_steps: int = 0
    """Number of steps over which the learning rate increases from zero."""
    ema_decay: float | None = None
    """Decay per step of a moving average of the weights, which is evaluated and saved; none: no
    average."""
    clip_norm: float | None = None
    """Maximum gradient norm; none: no clipping."""
    evaluate_every: int = 1
    """Epochs between evaluations during training; 0: only at the end."""
    checkpoint_every: int = 1
    """Epochs between checkpoints."""
    on_divergence: Literal["stop", "restart"] = "stop"
    """Action if a loss or a gradient is not finite. stop: end with an error; restart: resume from
    the last checkpoint with half the learning rate."""
    max_restarts: int = 5
    """Number of restarts after which a divergence stops the run."""
    precision: Literal["32-true", "tf32", "bf16-mixed", "16-mixed"] = "32-true"
    """Number format of the training step. tf32: float32, multiplied with 10 bits of mantissa on
    NVIDIA GPUs, without effect on CPUs. 16-mixed needs a GPU."""
    compile: bool = False
    """Compile the training step with torch.compile; evaluation is not compiled."""
    channels_last: bool = False
    """Store images and kernels in channels-last memory format."""
    device: str = "auto"
    """auto, cpu, cuda, or one GPU of several: cuda:1."""
    threads: int = 0
    """CPU threads of torch; 0: the default of torch."""
    seed: int = 0
    """Seed of all random numbers."""

    def __post_init__(self) -> None:
        """Check ranges; raise ConfigError."""
        check_finite("train", self)
        check("train.epochs", self.epochs >= 1, ">= 1", self.epochs)
        check("train.lr", self.lr > 0, "> 0", self.lr)
        check_name("train.schedule", self.schedule, SCHEDULES)
        if self.schedule in SCHEDULES:
            args = self.schedule_args
            check("train.schedule_args", not args, f"empty with schedule {self.schedule}", args)
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
        frozen = self.freeze_backbone_epochs
        check("train.freeze_backbone_epochs", frozen >= 0, ">= 0", frozen)
        lowest, decay = self.lr_min_factor, self.ema_decay
        check("train.lr_min_factor", 0 <= lowest <= 1, "in [0, 1]", lowest)
        check("train.ema_decay", decay is None or 0 < decay < 1, "in (0, 1), or none", decay)
        check("train.lr_factor", 0 < self.lr_factor <= 1, "in (0, 1]", self.lr_factor)
        check("train.warmup_steps", self.warmup_steps >= 0, ">= 0", self.warmup_steps)
        check(
            "train.clip_norm", self.clip_norm is None or self.clip_norm > 0, "> 0", self.clip_norm
        )
        check("train.evaluate_every", self.evaluate_every >= 0, ">= 0", self.evaluate_every)
        check("train.checkpoint_every", self.checkpoint_every >= 1, ">= 1", self.checkpoint_every)
        check("train.max_restarts", self.max_restarts >= 0, ">= 0", self.max_restarts)
        known = re.fullmatch(r"auto|cpu|cuda(:\d+)?", self.device) is not None
        check("train.device", known, "auto, cpu, cuda or cuda:N", self.device)
        check("train.threads", self.threads >= 0, ">= 0", self.threads)
        check("train.seed", 0 <= self.seed < 2**32, "in [0, 2^32)", self.seed)
