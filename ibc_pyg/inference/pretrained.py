"""Pretrained backbones as embedders, for searching before anything is trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from ibc_pyg.config import Config, DataConfig, ModelConfig, TrainConfig
from ibc_pyg.data.transforms import Transform, transform_preset
from ibc_pyg.errors import ConfigError, did_you_mean
from ibc_pyg.inference.embedder import Embedder, ModelSource
from ibc_pyg.nn.backbones.factory import make_backbone
from ibc_pyg.nn.backbones.pooling import CellPooling, make_pooling
from ibc_pyg.nn.backbones.published import PRETRAINED, PublishedBackbone
from ibc_pyg.nn.backbones.timm_backbone import PREFIX
from ibc_pyg.nn.backbones.torchvision_backbone import torchvision_names
from ibc_pyg.nn.model import IntraBatchModel
from ibc_pyg.parallel.fabric import make_fabric

_CROP = 224 / 256
"""Side of the crop over the shorter side of the picture, as usual for ImageNet."""


def is_backbone_name(name: str) -> bool:
    """Tell whether a name is that of a backbone that can have pretrained weights."""
    return name.startswith(PREFIX) or name in torchvision_names()


def load_pretrained(name: str, weights: str | Path | None = None) -> Embedder:
    """Make an embedder of the pooled features of a pretrained backbone.

    The feature is what the classifier of the network reads: the average over positions, or the
    class token of a transformer; it is scaled to unit norm. Pictures are scaled and cropped as
    usual for ImageNet; for a network of timm, to its size and with its mean and std.

    Args:
        name: A torchvision network such as `resnet50`, or `timm:NAME`.
        weights: A local file, `.safetensors` or of `torch.save` with tensors only; None takes the
            weights that the library recommends, which are downloaded once.

    Raises:
        ConfigError: If the name is unknown, or the weights cannot be read, downloaded or used.
    """
    if not is_backbone_name(name):
        hint = did_you_mean(
            name, torchvision_names(), otherwise="networks of timm are named timm:NAME"
        )
        raise ConfigError(
            f"{name} is neither a run folder nor a network of torchvision or timm; {hint}"
        )
    file = None if weights is None else Path(weights).expanduser().resolve()
    if file is not None and not file.is_file():
        raise ConfigError(f"--weights: there is no file {file}")
    try:
        backbone = make_backbone(name, 1, weights=PRETRAINED if file is None else str(file))
    except ConfigError as error:
        if file is not None or "download" not in str(error):
            raise
        raise ConfigError(
            f"the weights of {name} cannot be downloaded; download them by other means and give "
            "the file: --weights FILE"
        ) from error
    assert isinstance(backbone, PublishedBackbone)
    # What the embedding would read is the feature.
    assert isinstance(backbone.embedding, nn.Linear)
    width = backbone.embedding.in_features
    backbone.embedding = nn.Identity()
    if isinstance(getattr(backbone, "pooling", None), CellPooling):
        backbone.pooling = make_pooling("avg")
    transform = _transform(backbone)
    config = Config(
        data=DataConfig(transform="imagenet"),
        model=ModelConfig(backbone=name, embedding_dim=width, steps=0),
        train=TrainConfig(),
    )
    model = IntraBatchModel(backbone, None, [], nn.Identity())
    source = ModelSource(name, None if file is None else str(file))
    return Embedder(model, transform, config, source=source).to(make_fabric(config.train).device)


def _transform(backbone: nn.Module) -> Transform:
    body = getattr(backbone, "body", None)
    published: Any = getattr(body, "pretrained_cfg", None)
    if published:  # of timm
        size = int(published["input_size"][-1])
        return transform_preset(
            "imagenet",
            image_size=size,
            resize=max(size, int(size / float(published.get("crop_pct") or _CROP))),
            mean=list(published["mean"]),
            std=list(published["std"]),
        )
    side = getattr(backbone, "image_size", None)
    size = 224 if side is None else int(side[0])
    return transform_preset("imagenet", image_size=size, resize=round(size / _CROP))
