"""Protocols of the user's code, by kind; docs/plugins.md lists them with their examples.

A class need not derive from its protocol. Arguments with a default here may be left out of the
signature: they are supplied where the class or function names them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import torch
    from torch import Tensor
    from torch.utils.data import Dataset
    from torch_geometric.data import Data

    from ibc_pyg.data.table import ImageTable


class MakesDataset(Protocol):
    """Class or function of `data.name`."""

    def __call__(
        self, root: Path | None = None, allow_partial: bool = False, **options: Any
    ) -> ImageTable | Dataset[Any]:
        """Return a table, or a Dataset of (image, label).

        Its images are uint8 tensors `[C, H, W]`, arrays `[H, W, C]` or Pillow images of one size;
        they are read once. Labels are taken from its `labels` or `targets`, if it has them, and
        the use of each image from its `roles` (`Role` flags); without `roles`, the first half of
        the classes is for training.
        """


class ImageTransform(Protocol):
    """Object that the class of `data.transform` makes; or a subclass of `Transform`.

    An attribute `resize`, >= `image_size`, is the shorter side of the images in a cache
    (`data.cache`); without it that is `image_size`.
    """

    image_size: int
    channels: int

    def train(self, image: Tensor) -> Tensor:
        """Augment an image, uint8 `[channels, H, W]` to float32 `[channels, S, S]`.

        torch's global generator is seeded for each image.
        """

    def test(self, image: Tensor) -> Tensor:
        """Convert an image of the same shapes without augmentation."""


class PlansBatches(Protocol):
    """Function of `data.sampler`; or a subclass of `PKSampler`."""

    def __call__(
        self,
        labels: npt.NDArray[np.int64],
        classes_per_batch: int,
        images_per_class: int,
        rng: np.random.Generator,
    ) -> npt.NDArray[np.int64]:
        """Return the rows of all batches of an epoch, `[steps, P * K]`, from labels `[M]`."""


class MakesBackbone(Protocol):
    """Class or function of `model.backbone`."""

    def __call__(
        self, in_channels: int = 3, embedding_dim: int = 128, **args: Any
    ) -> torch.nn.Module:
        """Return a module from images `[N, C, S, S]` to embeddings `[N, embedding_dim]`."""


class BuildsGraph(Protocol):
    """Function of `model.graph`."""

    def __call__(
        self, x: Tensor, senders: Tensor | None = None, first: int = 0, **args: Any
    ) -> Data | Tensor:
        """Return the graph of unit-norm nodes `[N, D]`.

        That is `edge_index`, int64 `[2, E]`, source first, or a Data with it and optionally
        `edge_weight` `[E]`. Training with several processes needs the arguments `senders`, the
        nodes `[M, D]` of all processes, which edges lead from, and `first`, the index of the first
        own node among them.
        """


class Loss(Protocol):
    """Instance of the class of `loss.terms[].name`, a torch.nn.Module.

    Its constructor gets `num_classes` and `embedding_size` where it names them.
    """

    def forward(
        self,
        features: Tensor,
        labels: Tensor,
        mined: tuple[Tensor, ...] | None = None,
        logits: Tensor | None = None,
    ) -> Tensor:
        """Return a scalar from features `[N, D]`, labels int64 `[N]` and logits `[N, C]`."""


class Miner(Protocol):
    """Function of `loss.terms[].miner`."""

    def __call__(self, features: Tensor, labels: Tensor) -> tuple[Tensor, ...]:
        """Return indices int64 into the batch.

        Three tensors of one length are anchors, positives and negatives; four are anchors and
        positives, anchors and negatives, as in pytorch-metric-learning.
        """


class MakesOptimizer(Protocol):
    """Class of `train.optimizer`, derived from torch.optim.Optimizer."""

    def __call__(
        self,
        params: Iterable[dict[str, Any]],
        lr: float = 1e-3,
        weight_decay: float = 0.0,
        **args: Any,
    ) -> torch.optim.Optimizer:
        """Return the optimiser of these groups, each with its `params`, `lr` and `name`."""


class Schedule(Protocol):
    """Function of `train.schedule`."""

    def __call__(self, epoch: float, epochs: int, step: int = 0, **args: Any) -> float:
        """Return the factor of the learning rate, >= 0, after `epoch` of `epochs`."""


class Metric(Protocol):
    """Function of `evaluate.metrics`; its name is that in the tables."""

    def __call__(
        self,
        descriptors: Tensor,
        labels: Tensor,
        gallery: Tensor | None = None,
        gallery_labels: Tensor | None = None,
    ) -> float | Mapping[str, float]:
        """Score unit-norm descriptors float32 `[N, D]` by their labels int64 `[N]`.

        For data sets with separate queries and gallery it needs the arguments `gallery` `[M, D]`
        and `gallery_labels` `[M]`.
        """


class Refiner(Protocol):
    """Function of `evaluate.refine`."""

    def __call__(
        self, descriptors: Tensor, size: int, gallery: Tensor | None = None, seed: int = 0
    ) -> Tensor:
        """Refine unit-norm descriptors `[N, D]` without labels.

        Returns:
            Neighbours for message passing, int64 `[N, size - 1]`, rows of `gallery` or else of
            `descriptors`; or the refined descriptors themselves, float `[N, D']`.
        """


class RecordsRun(Protocol):
    """Instance of the class of `track.trackers`.

    Its constructor gets `run_dir`, a Path, and `config`, nested dictionaries, where it names them.
    The other methods of `ibc_pyg.track.base.Tracker` are called where it has them.
    """

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Record scalars of a step."""

    def summary(self, values: Mapping[str, float]) -> None:
        """Record the final metrics; may be missing."""

    def rewind(self, records: Sequence[Mapping[str, float | None]]) -> None:
        """Go back to these records, from which the run is trained again; may be missing."""
