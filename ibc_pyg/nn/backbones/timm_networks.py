"""timm's networks (https://github.com/huggingface/pytorch-image-models) as backbones.

timm is an optional package: it is imported when the first `timm:NAME` is asked for.
"""

from __future__ import annotations

import difflib
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ibc_pyg.errors import ConfigError, first_line
from ibc_pyg.nn.backbones.images import as_three_channels, check_ends
from ibc_pyg.nn.backbones.pooling import Pooling, make_pooling
from ibc_pyg.nn.backbones.torchvision_networks import set_bn_eps
from ibc_pyg.nn.weights import fit_backbone_weights, read_backbone_weights

PREFIX = "timm:"
PRETRAINED = "pretrained"
OWN_ARGS = ("pooling", "grid", "bn_eps")
"""Arguments of `TimmBackbone`; all others go to timm's network."""
_READS_FILES = ("checkpoint_path", "pretrained_cfg", "pretrained_cfg_overlay", "cache_dir")


class TimmBackbone(nn.Module):
    """A timm network without its classifier, pooling and a linear layer.

    Args:
        model: From `timm.create_model(..., num_classes=0)`; becomes `body`.
        embedding_dim: D, width of an embedding.
        in_channels: 3, or 1 for grey images, which are shown to all three input channels.
        pooling: None takes timm's own way to one vector: the average of a convolutional network,
            the class token or average of a transformer, with the norms that belong to it. 'max',
            'avg' or 'gem' pools the last map instead; only where the map is `[B, C, h, w]`.
        grid: With `pooling`, the map is pooled in `grid * grid` cells.
        bn_eps: Epsilon of all batch normalisations, for weights trained with another one.

    Shapes:
        - **input:** images :math:`(B, C, H, W)`
        - **output:** raw embeddings :math:`(B, D)`

    Raises:
        ValueError: If a value is out of range or does not fit the network.
        ConfigError: In `forward`, if the images have a size that the network cannot read.

    """

    def __init__(
        self,
        model: Any,
        embedding_dim: int,
        *,
        in_channels: int = 3,
        pooling: Pooling | None = None,
        grid: int = 1,
        bn_eps: float | None = None,
    ) -> None:
        super().__init__()
        check_ends(in_channels, embedding_dim)
        if pooling is None and grid != 1:
            raise ValueError("grid needs a pooling: max, avg or gem")
        if bn_eps is not None:
            set_bn_eps(model, bn_eps)
        self.body = model
        self.pooling: nn.Module | None = None
        if pooling is not None:
            _check_map(model)
            self.pooling = make_pooling(pooling, grid)
        # What forward_head gives differs from the map's channels where a hidden layer follows.
        width = int(model.num_features if pooling else _pooled_width(model))
        self.embedding = nn.Linear(width * grid * grid, embedding_dim)

    def forward(self, images: Tensor) -> Tensor:
        """Map images `[B, C, H, W]`, C = 1 or 3, to raw embeddings `[B, D]`."""
        try:
            vectors = self._vectors(as_three_channels(images))  # [B, C]
        except AssertionError as error:  # what timm says of an image's size
            raise ConfigError(
                f"model.backbone: timm: {error} Set data.transform_args.image_size, or the size in "
                "model.backbone_args (img_size)"
            ) from error
        embeddings: Tensor = self.embedding(vectors)  # [B, D]
        return embeddings

    def _vectors(self, images: Tensor) -> Tensor:
        if self.pooling is None:
            pooled: Tensor = self.body(images)  # [B, C]
            return pooled
        cells: Tensor = self.pooling(self.body.forward_features(images))  # [B, C * grid * grid]
        return cells


def make_timm(
    name: str, in_channels: int, embedding_dim: int, weights: str | None, args: Mapping[str, Any]
) -> TimmBackbone:
    """Make a timm network with an embedding.

    Args:
        name: timm's name, without `timm:`; with a tag (`resnet50.a1_in1k`) it also says which
            published weights 'pretrained' means.
        in_channels: 3, or 1 for grey images.
        embedding_dim: D.
        weights: 'pretrained' fetches those that timm knows; a local file with timm's key names
            (a classifier in it is passed over), or with those of a whole `TimmBackbone`; None draws
            them at random.
        args: Arguments of `TimmBackbone` and of timm's network, such as `img_size`.

    Raises:
        ConfigError: If timm is missing, the name is unknown, or the weights cannot be had.
        ValueError, TypeError: If an argument is unknown or out of range.

    """
    timm = _import(name)
    if ":" in name or not timm.is_model(name):
        raise ConfigError(
            f"model.backbone: timm {timm.__version__} has no model {name!r}; {_near(name)}"
        )
    # Some versions of timm unpickle the file at checkpoint_path without any limit.
    if named := sorted(set(args).intersection(_READS_FILES)):
        raise ConfigError(
            f"model.backbone_args: {named[0]} is refused: weights are named by model.weights alone"
        )
    own = {key: value for key, value in args.items() if key in OWN_ARGS}
    others = {key: value for key, value in args.items() if key not in OWN_ARGS}
    fetch = weights == PRETRAINED
    try:
        with _one_line_for_all():
            model = timm.create_model(name, pretrained=fetch, num_classes=0, **others)
    except (TypeError, ValueError, AssertionError, RuntimeError, OSError) as error:
        if not fetch:
            raise ValueError(first_line(error)) from error
        raise ConfigError(
            f"model.weights: timm cannot fetch the weights of {name} ({first_line(error)}); "
            "download them elsewhere and name the file, or set weights to none"
        ) from error
    state = None if weights is None or fetch else read_backbone_weights(weights)
    whole = state is not None and any(key.startswith("body.") for key in state)
    if state is not None and not whole:
        fit_backbone_weights(model, state, str(weights), fresh=_classifiers(model))
    backbone = TimmBackbone(model, embedding_dim, in_channels=in_channels, **own)
    if state is not None and whole:
        fit_backbone_weights(backbone, state, str(weights))
    return backbone


@contextmanager
def _one_line_for_all() -> Iterator[None]:
    """Silence what the hub's client says of each further attempt: the error tells it all."""
    logger = logging.getLogger("huggingface_hub")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _import(name: str) -> Any:
    try:
        import timm
    except ImportError as error:
        raise ConfigError(
            f"model.backbone: timm:{name} needs the package timm, which is not installed "
            "(pip install timm)"
        ) from error
    return timm


def _near(name: str) -> str:
    timm = _import(name)
    names = timm.list_models()
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    near = near or [known for known in names if name.lower() in known][:3]
    return f"did you mean {' or '.join(near)}?" if near else "timm.list_models() lists them"


def _classifiers(model: Any) -> tuple[str, ...]:
    """Return the beginnings of the names of timm's classifier, which the model here has not."""
    names = model.pretrained_cfg.get("classifier") or ()
    return tuple(f"{name}." for name in ((names,) if isinstance(names, str) else names))


def _pooled_width(model: Any) -> Any:
    return getattr(model, "head_hidden_size", None) or model.num_features


def _check_map(model: Any) -> None:
    """Refuse a network whose last output is no map `[B, C, h, w]`."""
    refused = ValueError("this network pools its tokens itself: leave pooling and grid")
    # A transformer has tokens, or maps with the channels last.
    if getattr(model, "patch_embed", None) is not None:
        raise refused
    training = model.training
    with torch.no_grad():
        features = model.eval().forward_features(torch.zeros(1, 3, 64, 64))
    model.train(training)
    if features.dim() != 4 or features.shape[1] != model.num_features:
        raise refused
