"""Networks of torchvision as backbones, by name."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torchvision.models as tv
from torch import Tensor, nn

from ibc_pyg.errors import ConfigError, first_line
from ibc_pyg.nn.backbones.pooling import Pooling, make_pooling
from ibc_pyg.nn.backbones.published import (
    PRETRAINED,
    PublishedBackbone,
    make_published,
    set_bn_eps,
    split_args,
)
from ibc_pyg.nn.weights import read_backbone_weights

FAMILIES = re.compile(
    r"(wide_)?resnet|resnext|densenet|mobilenet_v[23]|efficientnet|convnext|swin_[tsb]|vit"
)

_CLASSIFIERS = ("fc.", "classifier.", "heads.", "head.")

# DenseNet's published files have keys such as norm.1, which no module can have.
_OLD_DENSENET = re.compile(r"(denselayer\d+\.(?:norm|relu|conv))\.([12]\.)")


class TorchvisionBackbone(PublishedBackbone):
    """A torchvision network, global pooling and a linear layer.

    The paper's backbone is a ResNet-50 with global *max* pooling, as in the released code.

    Args:
        model: A torchvision classification network, whose parts are reused.
        embedding_dim: Width D of an embedding.
        in_channels: 3, or 1 for grey images, which are repeated for all three input channels.
        pooling: 'max', 'avg' or 'gem'; None is 'max' for a convolutional network. A vision
            transformer uses its class token and has no pooling.
        grid: The map is pooled in `grid * grid` cells.
        last_stride: Stride of the last stage of a ResNet; 1 doubles the side of the last map.
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
        model: nn.Module,
        embedding_dim: int,
        *,
        in_channels: int = 3,
        pooling: Pooling | None = None,
        grid: int = 1,
        last_stride: int = 2,
        bn_eps: float | None = None,
    ) -> None:
        super().__init__(embedding_dim, in_channels)
        _set_last_stride(model, last_stride)
        set_bn_eps(model, bn_eps)
        trunk = _trunk(model)
        if not trunk.is_map and (pooling is not None or grid != 1):
            raise ValueError("a vision transformer uses its class token: omit pooling and grid")
        self.body = trunk.body
        side = getattr(trunk.body, "image_size", None)  # of a vision transformer
        self.image_size = None if side is None else (int(side), int(side))
        self.pooling = make_pooling(pooling or "max", grid) if trunk.is_map else nn.Identity()
        if grid > 1 and not isinstance(trunk.neck, nn.Identity):
            raise ValueError("grid must be 1 for a network that normalises pooled features")
        self.neck = trunk.neck
        self.embedding = nn.Linear(trunk.channels * grid * grid, embedding_dim)

    def features(self, images: Tensor) -> Tensor:
        """Map images `[B, 3, H, W]` to vectors `[B, C * grid * grid]`."""
        if self.image_size is not None and images.shape[-2:] != self.image_size:
            (height, width), (h, w) = self.image_size, images.shape[-2:]
            raise ConfigError(
                f"model.backbone reads images of {height} x {width} pixels, not {h} x {w}; set "
                "data.transform_args.image_size, or image_size in model.backbone_args"
            )
        maps = self.body(images)  # [B, C, h, w], or [B, C] from a vision transformer
        vectors: Tensor = self.neck(self.pooling(maps))  # [B, C * grid * grid]
        return vectors


@dataclass(frozen=True)
class Trunk:
    """A network without its classifier.

    Attributes:
        body: Maps images to feature maps `[B, C, h, w]`, or, if `is_map` is false, to `[B, C]`.
        channels: Number C of channels.
        neck: Normalises pooled features `[B, C]`.
        is_map: Whether the body gives maps, which need pooling.
    """

    body: nn.Module
    channels: int
    neck: nn.Module = field(default_factory=nn.Identity)
    is_map: bool = True


def _trunk(model: nn.Module) -> Trunk:
    for family, take in _FAMILIES.items():
        if isinstance(model, family):
            return take(model)
    known = [family.__name__ for family in _FAMILIES]
    raise ValueError(f"{type(model).__name__} is none of the families {known}")


def _resnet(model: tv.ResNet) -> Trunk:
    parts = [(k, v) for k, v in model.named_children() if k not in ("avgpool", "fc")]
    return Trunk(nn.Sequential(OrderedDict(parts)), model.fc.in_features)


def _densenet(model: tv.DenseNet) -> Trunk:
    body = nn.Sequential(OrderedDict(features=model.features, relu=nn.ReLU(inplace=True)))
    return Trunk(body, model.classifier.in_features)


def _mobile(model: tv.MobileNetV2 | tv.MobileNetV3 | tv.EfficientNet) -> Trunk:
    # MobileNetV3's classifier starts with a hidden layer, whose input width is that of the map.
    linear = next(m for m in model.classifier if isinstance(m, nn.Linear))
    return Trunk(nn.Sequential(OrderedDict(features=model.features)), linear.in_features)


def _convnext(model: tv.ConvNeXt) -> Trunk:
    norm = model.classifier[0]
    layer_norm = nn.LayerNorm(norm.normalized_shape, eps=norm.eps)
    layer_norm.load_state_dict(norm.state_dict())
    body = nn.Sequential(OrderedDict(features=model.features))
    return Trunk(body, model.classifier[2].in_features, layer_norm)


def _swin(model: tv.SwinTransformer) -> Trunk:
    parts = OrderedDict(features=model.features, norm=model.norm, permute=model.permute)
    return Trunk(nn.Sequential(parts), model.head.in_features)


def _vit(model: tv.VisionTransformer) -> Trunk:
    model.heads = nn.Identity()
    return Trunk(model, model.hidden_dim, is_map=False)


_FAMILIES: dict[type[nn.Module], Callable[..., Trunk]] = {
    tv.ResNet: _resnet,
    tv.DenseNet: _densenet,
    tv.MobileNetV2: _mobile,
    tv.MobileNetV3: _mobile,
    tv.EfficientNet: _mobile,
    tv.ConvNeXt: _convnext,
    tv.SwinTransformer: _swin,
    tv.VisionTransformer: _vit,
}


def _set_last_stride(model: nn.Module, stride: int) -> None:
    if stride not in (1, 2):
        raise ValueError(f"last_stride must be 1 or 2, not {stride}")
    if stride == 2:
        return
    if not isinstance(model, tv.ResNet):
        raise ValueError("last_stride is an argument of ResNets only")
    for module in model.layer4[0].modules():
        if isinstance(module, nn.Conv2d) and module.stride == (2, 2):
            module.stride = (stride, stride)


def torchvision_names() -> list[str]:
    """Return the names of the torchvision networks that can be backbones."""
    return [name for name in tv.list_models(module=tv) if FAMILIES.match(name)]


def make_torchvision(
    name: str, in_channels: int, embedding_dim: int, weights: str | None, args: Mapping[str, Any]
) -> nn.Module:
    """Make a torchvision network with an embedding.

    Args:
        name: One of `torchvision_names()`.
        in_channels: 3, or 1 for grey images.
        embedding_dim: Width D of an embedding.
        weights: A local file with torchvision's key names (its classifier is ignored) or with
            those of a whole `TorchvisionBackbone`; a name in torchvision such as 'IMAGENET1K_V1';
            or 'pretrained' for the weights that torchvision recommends.
        args: Arguments of `TorchvisionBackbone` and of torchvision's network, such as `width_mult`.

    Raises:
        ConfigError: If the weights do not fit or cannot be read or downloaded.
        ValueError, TypeError: If an argument is unknown or out of range.
    """
    own, others = split_args(TorchvisionBackbone, args)
    model = tv.get_model(name, weights=None, **others)
    return make_published(
        TorchvisionBackbone,
        model,
        None if weights is None else _read_weights(name, weights),
        weights,
        # classifier.0 of ConvNeXt normalises the input of the embedding.
        fresh=("classifier.2.",) if isinstance(model, tv.ConvNeXt) else _CLASSIFIERS,
        embedding_dim=embedding_dim,
        in_channels=in_channels,
        **own,
    )


def _read_weights(name: str, weights: str) -> dict[str, Tensor]:
    """Return weights by torchvision's name or from a local file."""
    published = tv.get_model_weights(name)
    weights = "DEFAULT" if weights == PRETRAINED else weights
    if weights != "DEFAULT" and weights not in published.__members__:
        try:
            return read_backbone_weights(weights)
        except ConfigError as error:
            names = ", ".join(published.__members__)
            raise ConfigError(f"{error} (torchvision has weights {names})") from error
    entry = published[weights] if weights in published.__members__ else published.DEFAULT
    try:
        state = entry.get_state_dict(progress=False, check_hash=True, weights_only=True)
    except (OSError, RuntimeError) as error:
        raise ConfigError(
            f"model.weights: {weights} cannot be downloaded from {entry.url} "
            f"({first_line(error)}); download it by other means and name the file"
        ) from error
    return {_OLD_DENSENET.sub(r"\1\2", key): value for key, value in state.items()}
