"""Optimiser, schedule and device."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from ibc_pyg.config.checks import Range, check, check_name, check_ranges

SCHEDULES = ("steps", "cosine")
"""Schedules of this package."""


@dataclass
class TrainConfig:
    """Optimiser, schedule and device."""

    epochs: Annotated[int, Range(1, 100_000)] = 12
    """Number of epochs."""
    optimizer: str = "RAdam"
    """Name in torch.optim, or FILE.py:NAME."""
    optimizer_args: dict[str, Any] = field(default_factory=dict)
    """Further arguments of the optimiser."""
    lr: Annotated[float, Range(0, 1e32, above=True)] = 4e-3
    """Initial learning rate."""
    backbone_lr_factor: Annotated[float, Range(0, 1e6)] = 1.0
    """Factor of `lr` for the backbone."""
    weight_decay: Annotated[float, Range(0, 1000)] = 0.0
    """Weight decay of the optimiser; the L2 penalty of RAdam."""
    decoupled_weight_decay: bool = False
    """Apply the penalty to the weights directly, as in the authors' RAdam, not to the gradient."""
    freeze_backbone_epochs: Annotated[float, Range(0, 1e9)] = 0.0
    """Number of first epochs in which only the new last layer of the backbone is trained; its batch
    normalisations keep their statistics."""
    schedule: str = "steps"
    """steps: reduce the learning rate at `lr_milestones`; cosine: along half a cosine to
    `lr_min_factor`; or FILE.py:NAME."""
    schedule_args: dict[str, Any] = field(default_factory=dict)
    """Arguments of a schedule of your own."""
    lr_milestones: Annotated[list[float], Range(0, 1e9, above=True)] = field(
        default_factory=lambda: [5.0, 9.0]
    )
    """Epochs after which the learning rate is multiplied by `lr_factor`, with schedule steps."""
    lr_factor: Annotated[float, Range(0, 1, above=True)] = 0.1
    """Factor of the learning rate at each milestone."""
    lr_min_factor: Annotated[float, Range(0, 1)] = 0.0
    """Final factor of the learning rate, with schedule cosine."""
    reload_best_at: Annotated[list[int], Range(1, 10**9)] = field(default_factory=list)
    """Epochs after which training continues from the best weights so far, as in the released code
    after 30 and 50; needs `select` val or test."""
    warmup_steps: Annotated[int, Range(0, 10**9)] = 0
    """Number of steps over which the learning rate increases from zero."""
    ema_decay: Annotated[float | None, Range(0, 1, above=True, below=True)] = None
    """Decay per step of a moving average of the weights, which is evaluated and saved; none: no
    average."""
    clip_norm: Annotated[float | None, Range(0, 1e9, above=True)] = None
    """Maximum gradient norm; none: no clipping."""
    evaluate_every: Annotated[int, Range(0, 10**9)] = 1
    """Epochs between evaluations during training; 0: only at the end."""
    checkpoint_every: Annotated[int, Range(1, 10**9)] = 1
    """Epochs between checkpoints."""
    on_divergence: Literal["stop", "restart"] = "stop"
    """Action if a loss or a gradient is not finite. stop: end with an error; restart: resume from
    the last checkpoint with half the learning rate."""
    max_restarts: Annotated[int, Range(0, 1000)] = 5
    """Number of restarts after which a divergence stops the run."""
    precision: Literal["32-true", "tf32", "bf16-mixed", "16-mixed"] = "32-true"
    """Number format of the training step. tf32: float32, multiplied with 10 bits of mantissa on
    NVIDIA GPUs, without effect on CPUs. 16-mixed needs a GPU."""
    compile: bool = False
    """Compile the training step with torch.compile; evaluation is not compiled."""
    channels_last: bool = False
    """Store images and kernels in channels-last memory format."""
    cudnn_benchmark: bool = True
    """On a GPU, let cuDNN choose each convolution's algorithm by measuring; no effect on a CPU."""
    device: str = "auto"
    """auto, cpu, cuda, or one GPU of several: cuda:1."""
    threads: Annotated[int, Range(0, 1024)] = 0
    """CPU threads of torch; 0: the default of torch."""
    seed: Annotated[int, Range(0, 2**32, below=True)] = 0
    """Seed of all random numbers."""

    def __post_init__(self) -> None:
        """Check ranges; raise ConfigError."""
        check_ranges("train", self)
        check_name("train.schedule", self.schedule, SCHEDULES)
        if self.schedule in SCHEDULES:
            args = self.schedule_args
            check("train.schedule_args", not args, f"empty with schedule {self.schedule}", args)
        in_order = self.lr_milestones == sorted(self.lr_milestones)
        check(
            "train.lr_milestones",
            in_order,
            "in ascending order",
            self.lr_milestones,
        )
        known = re.fullmatch(r"auto|cpu|cuda(:[0-9]{1,3})?", self.device) is not None
        check("train.device", known, "auto, cpu, cuda or cuda:N", self.device)
