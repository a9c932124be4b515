"""Networks of timm (https://github.com/huggingface/pytorch-image-models) as backbones, by name.

timm is an optional dependency; it is imported for the first `timm:NAME`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ibc_pyg.errors import ConfigError, did_you_mean, first_line
from ibc_pyg.nn.backbones.packaged import in_timm_names, packaged_weights
from ibc_pyg.nn.backbones.pooling import Pooling, make_pooling
from ibc_pyg.nn.backbones.published import (
    PRETRAINED,
    PublishedBackbone,
    make_published,
    set_bn_eps,
    split_args,
)
from ibc_pyg.nn.weights import read_backbone_weights

PREFIX = "timm:"

_READS_FILES = ("checkpoint_path", "pretrained_cfg", "pretrained_cfg_overlay", "cache_dir")


class TimmBackbone(PublishedBackbone):
    """A timm network without its classifier, pooling and a linear layer.

    Args:
        model: Network from `timm.create_model(..., num_classes=0)`; becomes `body`.
        embedding_dim: Width D of an embedding.
        in_channels: 3, or 1 for grey images, which are repeated for all three input channels.
        pooling: None uses the pooling of timm: the average of a convolutional network, the class
            token or average of a transformer, with their norms. 'max', 'avg' or 'gem' pools the
            last map instead, which must be `[B, C, h, w]`.
        grid: With `pooling`, the map is pooled in `grid * grid` cells.
        bn_eps: Epsilon of all batch normalisations, for weights trained with another one.

    Shapes:
        - **input:** images :math:`(B, C, H, W)`
        - **output:** raw embeddings :math:`(B, D)`

    Raises:
        ValueError: If a value is out of range or does not fit the network.
        ConfigError: In `forward`, if the network cannot read images of this size.
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
        super().__init__(embedding_dim, in_channels)
        if pooling is None and grid != 1:
            raise ValueError("grid needs a pooling: max, avg or gem")
        set_bn_eps(model, bn_eps)
        self.body = model
        self.pooling: nn.Module | None = None
        # A hidden layer of the head makes its width differ from the channels of the map.
        width = getattr(model, "head_hidden_size", None) or model.num_features
        if pooling is not None:
            _check_map(model)
            self.pooling = make_pooling(pooling, grid)
            width = model.num_features
        self.embedding = nn.Linear(int(width) * grid * grid, embedding_dim)

    def features(self, images: Tensor) -> Tensor:
        """Map images `[B, 3, H, W]` to vectors `[B, C]`, or `[B, C * grid * grid]`."""
        vectors: Tensor
        try:
            if self.pooling is None:
                vectors = self.body(images)  # [B, C]
            else:
                vectors = self.pooling(self.body.forward_features(images))  # [B, C * grid * grid]
        except AssertionError as error:  # timm checks the image size by assertions
            raise ConfigError(
                f"model.backbone: timm: {error} Set data.transform_args.image_size, or the size in "
                "model.backbone_args (img_size)"
            ) from error
        return vectors


def make_timm(
    name: str, in_channels: int, embedding_dim: int, weights: str | None, args: Mapping[str, Any]
) -> nn.Module:
    """Make a timm network with an embedding.

    Args:
        name: Name in timm, without `timm:`; a tag (`resnet50.a1_in1k`) selects the published
            weights of 'pretrained'.
        in_channels: 3, or 1 for grey images.
        embedding_dim: Width D of an embedding.
        weights: 'pretrained' downloads the weights that timm has, or takes those of an installed
            package, see `packaged_weights`; a local file with timm's key names or those of
            efficientnet_pytorch (its classifier is ignored) or with those of a whole
            `TimmBackbone`; None initialises at random.
        args: Arguments of `TimmBackbone` and of timm's network, such as `img_size`.

    Raises:
        ConfigError: If timm is missing, the name is unknown, or the weights cannot be read or
            downloaded.
        ValueError, TypeError: If an argument is unknown or out of range.
    """
    timm = _import_timm(name)
    if ":" in name or not timm.is_model(name):
        hint = did_you_mean(name, timm.list_models(), otherwise="timm.list_models() lists them")
        raise ConfigError(f"model.backbone: timm {timm.__version__} has no model {name!r}; {hint}")
    # Some versions of timm unpickle the file at checkpoint_path without any limit.
    if named := sorted(set(args).intersection(_READS_FILES)):
        raise ConfigError(
            f"model.backbone_args: {named[0]} is refused: weights are named by model.weights alone"
        )
    own, others = split_args(TimmBackbone, args)
    if weights == PRETRAINED and (file := packaged_weights(name)) is not None:
        weights = str(file)
    pretrained = weights == PRETRAINED
    try:
        with _quiet_hub():
            model = timm.create_model(name, pretrained=pretrained, num_classes=0, **others)
    except (TypeError, ValueError, AssertionError, RuntimeError, OSError) as error:
        if not pretrained:
            raise ValueError(first_line(error)) from error
        raise ConfigError(
            f"model.weights: timm cannot download the weights of {name} ({first_line(error)}); "
            "download them by other means and name the file, or set weights to none"
        ) from error
    names = model.pretrained_cfg.get("classifier") or ()
    classifiers = (names,) if isinstance(names, str) else names
    state = None
    if weights is not None and not pretrained:
        state = in_timm_names(read_backbone_weights(weights), model, weights)
    return make_published(
        TimmBackbone,
        model,
        state,
        weights,
        fresh=tuple(f"{name}." for name in classifiers),
        embedding_dim=embedding_dim,
        in_channels=in_channels,
        **own,
    )


@contextmanager
def _quiet_hub() -> Iterator[None]:
    """Suppress the warnings of the hub's client about each retry; the error is enough."""
    logger = logging.getLogger("huggingface_hub")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _import_timm(name: str) -> Any:
    try:
        import timm
    except ImportError as error:
        raise ConfigError(
            f"model.backbone: timm:{name} needs the package timm, which is not installed "
            "(pip install timm)"
        ) from error
    return timm


def _check_map(model: Any) -> None:
    """Check that the last output of the network is a map `[B, C, h, w]`."""
    error = ValueError("this network pools its tokens: omit pooling and grid")
    # A transformer has tokens, or maps with channels last.
    if getattr(model, "patch_embed", None) is not None:
        raise error
    training = model.training
    with torch.no_grad():
        features = model.eval().forward_features(torch.zeros(1, 3, 64, 64))
    model.train(training)
    if features.dim() != 4 or features.shape[1] != model.num_features:
        raise error
