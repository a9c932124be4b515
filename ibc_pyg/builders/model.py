"""From a configuration to its parts: table, splits, transforms, model, optimiser."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from rich.console import Console
from torch import Tensor, nn
from torch_geometric.data import Data as PyGData

from ibc_pyg.config import Config, DataConfig, ModelConfig
from ibc_pyg.console import progress
from ibc_pyg.data.images.cache import ImageCache, open_cache
from ibc_pyg.data.images.cache_dir import default_cache_dir
from ibc_pyg.data.loading.dataset import OnError
from ibc_pyg.data.loading.loader import suggested_workers
from ibc_pyg.data.registry import load_table
from ibc_pyg.data.splits import Splits, split
from ibc_pyg.data.table import ImageTable
from ibc_pyg.data.transforms import Transform, transform_preset
from ibc_pyg.errors import ConfigError, UserError, first_line
from ibc_pyg.graph import knn, threshold
from ibc_pyg.nn.backbones import make_backbone
from ibc_pyg.nn.heads import BNNeckHead, LinearHead
from ibc_pyg.nn.model import GraphFunction, IntraBatchModel, complete_batch
from ibc_pyg.nn.mpn import MPN
from ibc_pyg.nn.spanning import check_spanning
from ibc_pyg.nn.sync_batch_norm import synchronise_batch_norm
from ibc_pyg.nn.weights import fit_weights

GRAPHS: Mapping[str, Callable[..., PyGData]] = {"threshold": threshold, "knn": knn}


@dataclass(frozen=True)
class Data:
    """The images of an experiment.

    Attributes:
        table: All images.
        splits: Their use.
        transform: Augmentation and normalisation.
        cache: Decoded pictures; None reads their files.
        workers: Processes that read images.
        on_error: Whether an image that cannot be read stops the work or is skipped.
        skipped: Why each skipped image could not be read, by its row; filled while working.
    """

    table: ImageTable
    splits: Splits
    transform: Transform
    cache: ImageCache | None = None
    workers: int = 0
    on_error: OnError = "stop"
    skipped: dict[int, str] = field(default_factory=dict)

    @property
    def train_table(self) -> ImageTable:
        """The training images, their classes renumbered from 0 without gaps."""
        table = self.table.take(self.splits.train)
        return replace(table, labels=self.splits.train_labels)


def build_data(config: Config, console: Console | None = None) -> Data:
    """Read the data set and divide it.

    Args:
        config: The experiment.
        console: Where the making of a cache is shown.

    Raises:
        DatasetError: If images are missing or the split leaves a part empty.
        ConfigError: If a name or an argument is unknown, or raw pixels of files are asked for.
    """
    data = config.data
    table = _load(data)
    if config.evaluate.raw_pixels and table.images is None:
        raise ConfigError(
            f"evaluate.raw_pixels is for data sets held in memory, and the images of {table.name} "
            "are files; set it to false"
        )
    held_out = data.val_classes if config.select == "val" else None
    splits = split(table, val_classes=held_out, val_fold=data.val_fold, seed=config.train.seed)
    transform = _transform(data)
    cache = _cache(data, table, transform, console)
    workers = data.workers
    if workers is None:
        workers = suggested_workers(table, cached=cache is not None)
    return Data(table, splits, transform, cache, workers, data.on_error)


def _cache(
    data: DataConfig, table: ImageTable, transform: Transform, console: Console | None
) -> ImageCache | None:
    if not data.cache or table.images is not None:
        return None
    with progress(len(table), "cache", console=console or Console(quiet=True)) as bar:
        return open_cache(
            table,
            transform.resize,
            default_cache_dir(),
            on_error=data.on_error,
            progress=lambda done, total: bar.update(done),
        )


def _load(data: DataConfig) -> ImageTable:
    root = None if data.root is None else Path(data.root)
    with _arguments("data.options", data.name, data.options):
        return load_table(data.name, root, allow_partial=data.allow_partial, **data.options)


def _transform(data: DataConfig) -> Transform:
    with _arguments("data.transform_args", data.transform, data.transform_args):
        return transform_preset(data.transform, **data.transform_args)


def build_model(config: ModelConfig, *, num_classes: int, channels: int) -> IntraBatchModel:
    """Make the model with fresh heads.

    Args:
        config: Names and sizes.
        num_classes: Classes of the heads.
        channels: Colour channels of the images.

    Raises:
        ConfigError: If a name or an argument is unknown.
    """
    width = config.embedding_dim
    with _arguments("model.backbone_args", config.backbone, config.backbone_args):
        backbone = make_backbone(
            config.backbone,
            width,
            in_channels=channels,
            weights=config.weights,
            **config.backbone_args,
        )
    auxiliary_head = _head(config.auxiliary_neck, width, num_classes)
    if config.steps == 0:
        return IntraBatchModel(
            backbone, None, [], auxiliary_head, freeze_batch_norm=config.freeze_batch_norm
        )
    with _arguments("model.mpn_args", "the MPN", config.mpn_args):
        mpn = MPN(
            width,
            config.steps,
            heads=config.heads,
            conv=config.conv,
            conv_args=config.conv_args,
            null_node=config.null_node,
            self_loops=config.self_loops,
            fuse=config.fuse,
            # The loop looks at the loss, which says as much.
            check_finite=False,
            **config.mpn_args,
        )
    node_heads = [
        _head(config.node_neck, mpn.out_channels, num_classes) for _ in range(mpn.num_outputs)
    ]
    return IntraBatchModel(
        backbone,
        mpn,
        node_heads,
        auxiliary_head,
        _graph(config),
        freeze_batch_norm=config.freeze_batch_norm,
    )


def rebuild_model(
    config: ModelConfig,
    weights: Mapping[str, Tensor],
    path: Path,
    *,
    num_classes: int,
    channels: int,
) -> IntraBatchModel:
    """Make a trained model from its weights, which have what its backbone started from.

    Args:
        config: Names and sizes; its `weights` are not read, and may have gone.
        weights: Of the whole model.
        path: Their file, for messages.
        num_classes: Classes of the heads.
        channels: Colour channels of the images.

    Raises:
        UserError: If the weights do not fit.
    """
    bare = replace(config, weights=None)
    model = build_model(bare, num_classes=num_classes, channels=channels)
    fit_weights(model, weights, path)
    return model


def _head(neck: bool, channels: int, num_classes: int) -> nn.Module:
    return BNNeckHead(channels, num_classes) if neck else LinearHead(channels, num_classes)


def _graph(config: ModelConfig) -> GraphFunction:
    if config.graph == "complete":
        return complete_batch
    return partial(GRAPHS[config.graph], **config.graph_args)


def span_processes(config: ModelConfig, model: IntraBatchModel) -> IntraBatchModel:
    """Prepare a model for the training of one graph over several processes, in place.

    Raises:
        ConfigError: If its graph layer needs the whole graph in one process.
    """
    if model.mpn is not None:
        check_spanning(model.mpn)
    if config.sync_batch_norm:
        model.backbone = synchronise_batch_norm(model.backbone)
    return model


def check_backbone(config: ModelConfig, model: IntraBatchModel, transform: Transform) -> None:
    """Try the backbone once, before anything is trained.

    Args:
        config: Its name.
        model: Left as it is.
        transform: Makes the images.

    Raises:
        ConfigError: If it cannot read images of this size.
    """
    size = transform.image_size
    images = torch.zeros(1, transform.channels, size, size)  # [1, C, S, S]
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            model.backbone(images)
    except RuntimeError as error:
        raise ConfigError(
            f"model.backbone: {config.backbone} cannot read images of {size} x {size}: "
            f"{first_line(error)}; set data.transform_args.image_size"
        ) from error
    finally:
        model.train(training)


def check_graph(config: ModelConfig, model: IntraBatchModel, num_nodes: int) -> None:
    """Try a batch graph that is not complete once, before anything is trained.

    Args:
        config: Names and arguments.
        model: Its graph and message passing; left as it is.
        num_nodes: Images of a batch.

    Raises:
        ConfigError: If the graph's arguments do not fit, or the layer cannot work on such a graph.
    """
    if model.mpn is None or model.graph is complete_batch:
        return
    draws = torch.Generator().manual_seed(0)
    nodes = torch.randn(num_nodes, config.embedding_dim, generator=draws)  # [N, D]
    with _arguments("model.graph_args", config.graph, config.graph_args), torch.no_grad():
        graph = model.graph(F.normalize(nodes, dim=-1))
        training = model.training
        model.eval()
        model.mpn(graph.x, graph.edge_index, graph.edge_weight)
        model.train(training)


@contextmanager
def _arguments(field: str, owner: str, given: Mapping[str, Any]) -> Iterator[None]:
    """Turn what a constructor says of its arguments into a line that names the field."""
    try:
        yield
    except UserError:
        raise
    except TypeError as error:
        if "argument" in str(error):
            raise ConfigError(f"{field}: {owner}: {str(error).split('() ')[-1]}") from error
        if not given:
            raise
        # A text where a number should be, and the like.
        raise ConfigError(f"{field}: {owner}: a value of {dict(given)}: {error}") from error
    except ValueError as error:
        raise ConfigError(f"{field}: {owner}: {error}") from error
