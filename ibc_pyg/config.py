"""The configuration of an experiment: one dataclass a part, a docstring under each field.

The defaults are those of the embedded data set. Reading an experiment file and the command line
into these classes is `ibc_pyg.cli`'s work; nothing here imports torch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from ibc_pyg.errors import ConfigError

RefineMethod = Literal["none", "knn", "k_reciprocal", "cluster"]
"""How the neighbourhoods of descriptor refinement are found."""


def _check(field_name: str, holds: bool, needs: str, value: object) -> None:
    if not holds:
        raise ConfigError(f"{field_name} must be {needs}, not {value}")


def _check_finite(part: str, values: Any) -> None:
    """Refuse infinity and NaN, which YAML and `float` both read."""
    for each in fields(values):
        value = getattr(values, each.name)
        if isinstance(value, float):
            _check(f"{part}.{each.name}", math.isfinite(value), "a finite number", value)


@dataclass
class DataConfig:
    """Where the images come from and how a batch is drawn."""

    name: str = "glyphs"
    """Data set; `python run.py data list` names them all."""
    root: str | None = None
    """Folder of the data set; not needed for the embedded ones."""
    options: dict[str, Any] = field(default_factory=dict)
    """Further arguments of the data set's reader."""
    classes_per_batch: int = 16
    """P: different classes in a batch."""
    images_per_class: int = 6
    """K: images of each class in a batch."""
    sampler: Literal["walk", "distinct", "redrawn"] = "distinct"
    """walk: every image of every class, as in the released code; distinct: no class twice in a
    batch; redrawn: each epoch draws a new P x K with the same product."""
    val_classes: float = 0.1
    """Share of the training classes that is held out, when they are used (see `select`)."""
    val_fold: int = 0
    """Which of the disjoint held-out shares to take, from 0."""
    transform: str = "glyphs"
    """Preset of augmentation and normalisation."""
    transform_args: dict[str, Any] = field(default_factory=dict)
    """Further arguments of the preset."""
    workers: int | None = None
    """Processes that read images; 0: the main one; none: as many as suit the machine."""
    cache: bool = False
    """Decode and resize each image once, into a memory-mapped file."""
    allow_partial: bool = False
    """Use a set although images are missing."""
    on_error: Literal["stop", "skip"] = "stop"
    """What to do with an image that cannot be read."""

    def __post_init__(self) -> None:
        """Check ranges; raise ConfigError."""
        _check(
            "data.classes_per_batch", self.classes_per_batch >= 1, ">= 1", self.classes_per_batch
        )
        _check("data.images_per_class", self.images_per_class >= 1, ">= 1", self.images_per_class)
        _check("data.val_classes", 0 < self.val_classes < 1, "in (0, 1)", self.val_classes)
        folds = int(1 / self.val_classes)
        _check("data.val_fold", 0 <= self.val_fold < folds, f"in [0, {folds - 1}]", self.val_fold)
        _check("data.workers", self.workers is None or self.workers >= 0, ">= 0", self.workers)


@dataclass
class ModelConfig:
    """The backbone, the batch graph and the message passing network (MPN)."""

    backbone: str = "conv4"
    """Name of the network that makes the embeddings."""
    backbone_args: dict[str, Any] = field(default_factory=dict)
    """Further arguments of the backbone."""
    weights: str | None = None
    """Weights to start from: a file, or a name that torchvision knows."""
    freeze_batch_norm: bool = False
    """The backbone's batch normalisations keep the statistics they start with."""
    embedding_dim: int = 128
    """D: width of embeddings and nodes."""
    steps: int = 1
    """L: message-passing steps; 0 leaves the auxiliary head and its loss alone."""
    conv: str = "IntraBatchConv"
    """Graph layer: a name in torch_geometric.nn, none, a dotted path, or FILE.py:CLASS."""
    conv_args: dict[str, Any] = field(default_factory=dict)
    """Further arguments of the graph layer."""
    heads: int = 4
    """H: attention heads; with IntraBatchConv they divide embedding_dim."""
    null_node: bool = True
    """Softmax-plus-one: one more node whose key and value are zero."""
    self_loops: bool = True
    """Each node also attends to itself."""
    fuse: bool = True
    """On the complete graph, compute a PyG layer by its dense twin, where there is one."""
    graph: Literal["complete", "threshold", "knn"] = "complete"
    """Which nodes of the batch are neighbours."""
    graph_args: dict[str, Any] = field(default_factory=dict)
    """Further arguments of the graph's function, as `k` for knn."""
    mpn_args: dict[str, Any] = field(default_factory=dict)
    """Further arguments of the MPN: dropout rates, residuals, norms, `every_step`, ..."""
    node_neck: bool = True
    """The classifier of the nodes is batch normalisation and a linear layer without bias; false: a
    plain linear layer."""
    auxiliary_neck: bool = False
    """The same for the classifier of the embeddings."""

    def __post_init__(self) -> None:
        """Check ranges; raise ConfigError."""
        _check("model.embedding_dim", self.embedding_dim >= 1, ">= 1", self.embedding_dim)
        _check("model.steps", self.steps >= 0, ">= 0", self.steps)
        _check("model.heads", self.heads >= 1, ">= 1", self.heads)
        _check(
            "model.heads",
            # Other layers get a linear layer that brings the width back.
            self.conv != "IntraBatchConv" or self.embedding_dim % self.heads == 0,
            f"a divisor of model.embedding_dim = {self.embedding_dim}",
            self.heads,
        )


@dataclass
class LossConfig:
    """Cross-entropy on the refined nodes and on the embeddings (paper, section 3.5)."""

    temperature: float = 1.0
    """T: logits are divided by it."""
    label_smoothing: float = 0.1
    """Share of the target that is spread over all classes."""
    node_weight: float = 1.0
    """Weight of the cross-entropy on the refined nodes."""
    auxiliary_weight: float = 1.0
    """Weight of the cross-entropy on the backbone embeddings."""

    def __post_init__(self) -> None:
        """Check ranges; raise ConfigError."""
        _check_finite("loss", self)
        _check("loss.temperature", self.temperature > 0, "> 0", self.temperature)
        _check(
            "loss.label_smoothing", 0 <= self.label_smoothing < 1, "in [0, 1)", self.label_smoothing
        )
        _check("loss.node_weight", self.node_weight >= 0, ">= 0", self.node_weight)
        _check("loss.auxiliary_weight", self.auxiliary_weight >= 0, ">= 0", self.auxiliary_weight)


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
        _check_finite("train", self)
        _check("train.epochs", self.epochs >= 1, ">= 1", self.epochs)
        _check("train.lr", self.lr > 0, "> 0", self.lr)
        factor = self.backbone_lr_factor
        _check("train.backbone_lr_factor", factor >= 0, ">= 0", factor)
        _check("train.weight_decay", self.weight_decay >= 0, ">= 0", self.weight_decay)
        in_order = self.lr_milestones == sorted(self.lr_milestones)
        _check(
            "train.lr_milestones",
            in_order and all(epoch > 0 for epoch in self.lr_milestones),
            "ascending epochs > 0",
            self.lr_milestones,
        )
        _check(
            "train.reload_best_at",
            all(epoch >= 1 for epoch in self.reload_best_at),
            "epochs >= 1",
            self.reload_best_at,
        )
        _check("train.lr_factor", 0 < self.lr_factor <= 1, "in (0, 1]", self.lr_factor)
        _check("train.warmup_steps", self.warmup_steps >= 0, ">= 0", self.warmup_steps)
        _check(
            "train.clip_norm", self.clip_norm is None or self.clip_norm > 0, "> 0", self.clip_norm
        )
        _check("train.evaluate_every", self.evaluate_every >= 0, ">= 0", self.evaluate_every)
        _check("train.checkpoint_every", self.checkpoint_every >= 1, ">= 1", self.checkpoint_every)
        _check(
            "train.device", self.device in ("auto", "cpu", "cuda"), "auto, cpu or cuda", self.device
        )
        _check("train.threads", self.threads >= 0, ">= 0", self.threads)
        _check("train.seed", 0 <= self.seed < 2**32, "in [0, 2^32)", self.seed)


@dataclass
class EvaluateConfig:
    """How the test images are scored."""

    ks: list[int] = field(default_factory=list)
    """The K of R@K, besides 1; none: those of the data set's protocol, for sop 1, 10, 100, 1000."""
    batch_size: int = 256
    """Images a forward pass."""
    clustering: bool = True
    """Also k-means with as many clusters as test classes: NMI, AMI, ARI."""
    kmeans_restarts: int = 1
    """Runs of k-means; the one with the least inertia counts."""
    raw_pixels: bool = False
    """Also score the pixels themselves, the floor; for data sets that are held in memory."""
    refine: RefineMethod = "none"
    """Also score descriptors that message passing refines, each among neighbours found without
    labels: its nearest (knn), its k-reciprocal ones, or its k-means cluster."""
    refine_size: int = 7
    """Images in such a neighbourhood, itself included; 1 changes nothing."""

    def __post_init__(self) -> None:
        """Check ranges; raise ConfigError."""
        _check(
            "evaluate.ks", all(1 <= k <= 10**9 for k in self.ks), "numbers from 1 to 10^9", self.ks
        )
        _check("evaluate.batch_size", self.batch_size >= 1, ">= 1", self.batch_size)
        _check("evaluate.kmeans_restarts", self.kmeans_restarts >= 1, ">= 1", self.kmeans_restarts)
        _check("evaluate.refine_size", self.refine_size >= 1, ">= 1", self.refine_size)


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

    def __post_init__(self) -> None:
        """Check ranges; raise ConfigError."""
        _check("track.every", self.every >= 1, ">= 1", self.every)


@dataclass
class Config:
    """A whole experiment."""

    data: DataConfig = field(default_factory=DataConfig)
    """Images and batches."""
    model: ModelConfig = field(default_factory=ModelConfig)
    """Backbone and message passing."""
    loss: LossConfig = field(default_factory=LossConfig)
    """The two cross-entropies."""
    train: TrainConfig = field(default_factory=TrainConfig)
    """Optimiser and schedule."""
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
    """Metrics."""
    track: TrackConfig = field(default_factory=TrackConfig)
    """W&B."""
    select: Literal["val", "last", "test"] = "val"
    """Which weights are kept. val: the epoch that is best on held-out training classes; last: the
    last epoch, trained on all training classes; test: the epoch that is best on the test classes,
    the papers' habit, marked as such in every output."""

    def __post_init__(self) -> None:
        """Check what spans several parts; raise ConfigError."""
        if self.model.steps == 0 and self.loss.auxiliary_weight == 0:
            raise ConfigError(
                "loss.auxiliary_weight is 0 and model.steps is 0: there is no loss; raise one"
            )
        if self.model.steps == 0 and self.evaluate.refine != "none":
            raise ConfigError(
                f"evaluate.refine is {self.evaluate.refine}, but model.steps is 0: there is no "
                "message passing to refine with; set evaluate.refine = none"
            )
        if self.select == "last" and self.train.reload_best_at:
            raise ConfigError(
                "train.reload_best_at needs evaluations that say what is best; "
                "set select = val or test"
            )
        if self.select != "last" and self.train.evaluate_every == 0:
            raise ConfigError(
                f"train.evaluate_every is 0, but select = {self.select} needs evaluations; "
                "set it to 1, or select = last"
            )
