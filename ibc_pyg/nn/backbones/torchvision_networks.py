"""torchvision's networks with a pooling and an embedding in the place of their classifier."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

import torchvision.models as tv
from torch import Tensor, nn

from ibc_pyg.nn.backbones.images import as_three_channels, check_ends, check_image_size
from ibc_pyg.nn.backbones.pooling import Pooling, make_pooling

CLASSIFIERS = ("fc.", "classifier.", "heads.", "head.")
"""Beginnings of the names of torchvision's classifiers, which an embedding replaces."""


@dataclass(frozen=True)
class Trunk:
    """A network without its classifier.

    Attributes:
        body: Maps images to a feature map `[B, C, h, w]`, or, if `is_map` is false, to `[B, C]`.
        channels: C.
        neck: Normalises pooled features `[B, C]`.
        is_map: The body gives a map that is still to be pooled.

    """

    body: nn.Module
    channels: int
    neck: nn.Module
    is_map: bool = True


class VisionBackbone(nn.Module):
    """A torchvision network, global pooling and a linear layer.

    The paper's backbone is a ResNet-50 with global *max* pooling, as in the released code.

    Args:
        model: A torchvision classification network; its parts are taken over.
        embedding_dim: D, width of an embedding.
        in_channels: 3, or 1 for grey images, which are shown to all three input channels.
        pooling: 'max', 'avg' or 'gem'; None is 'max' for a convolutional network. A vision
            transformer takes its class token and has no pooling.
        grid: The map is pooled in `grid * grid` cells.
        last_stride: Stride of the last stage of a ResNet; 1 doubles the side of the last map.
        bn_eps: Epsilon of all batch normalisations, for weights trained with another one.

    Shapes:
        - **input:** images :math:`(B, C, H, W)`
        - **output:** raw embeddings :math:`(B, D)`

    Raises:
        ValueError: If a value is out of range or does not fit the network.

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
        super().__init__()
        check_ends(in_channels, embedding_dim)
        set_last_stride(model, last_stride)
        if bn_eps is not None:
            set_bn_eps(model, bn_eps)
        trunk = take_trunk(model)
        if not trunk.is_map and (pooling is not None or grid != 1):
            raise ValueError("a vision transformer takes its class token: leave pooling and grid")
        self.body = trunk.body
        side = getattr(trunk.body, "image_size", None)  # of a vision transformer
        self.image_size = None if side is None else (int(side), int(side))
        self.pooling = make_pooling(pooling or "max", grid) if trunk.is_map else nn.Identity()
        if grid > 1 and not isinstance(trunk.neck, nn.Identity):
            raise ValueError("grid must be 1 for a network that normalises pooled features")
        self.neck = trunk.neck
        self.embedding = nn.Linear(trunk.channels * grid * grid, embedding_dim)

    def forward(self, images: Tensor) -> Tensor:
        """Map images `[B, C, H, W]`, C = 1 or 3, to raw embeddings `[B, D]`."""
        check_image_size(images, self.image_size)
        images = as_three_channels(images)  # [B, 3, H, W]
        features = self.body(images)  # [B, C, h, w], or [B, C] from a vision transformer
        vectors = self.neck(self.pooling(features))  # [B, C * grid * grid]
        embeddings: Tensor = self.embedding(vectors)  # [B, D]
        return embeddings


def take_trunk(model: nn.Module) -> Trunk:
    """Take a torchvision network apart.

    Raises:
        ValueError: If it is of no family known here.

    """
    for family, take in _FAMILIES.items():
        if isinstance(model, family):
            return take(model)
    known = [family.__name__ for family in _FAMILIES]
    raise ValueError(f"{type(model).__name__} is none of the families {known}")


def _resnet(model: tv.ResNet) -> Trunk:
    parts = [(k, v) for k, v in model.named_children() if k not in ("avgpool", "fc")]
    return Trunk(nn.Sequential(OrderedDict(parts)), model.fc.in_features, nn.Identity())


def _densenet(model: tv.DenseNet) -> Trunk:
    body = nn.Sequential(OrderedDict(features=model.features, relu=nn.ReLU(inplace=True)))
    return Trunk(body, model.classifier.in_features, nn.Identity())


def _mobile(model: tv.MobileNetV2 | tv.MobileNetV3 | tv.EfficientNet) -> Trunk:
    body = nn.Sequential(OrderedDict(features=model.features))
    # MobileNetV3's classifier begins with a hidden layer: its input is what the map has.
    linear = next(m for m in model.classifier if isinstance(m, nn.Linear))
    return Trunk(body, linear.in_features, nn.Identity())


def _convnext(model: tv.ConvNeXt) -> Trunk:
    norm = model.classifier[0]
    layer_norm = nn.LayerNorm(norm.normalized_shape, eps=norm.eps)
    layer_norm.load_state_dict(norm.state_dict())
    body = nn.Sequential(OrderedDict(features=model.features))
    return Trunk(body, model.classifier[2].in_features, layer_norm)


def _swin(model: tv.SwinTransformer) -> Trunk:
    parts = OrderedDict(features=model.features, norm=model.norm, permute=model.permute)
    return Trunk(nn.Sequential(parts), model.head.in_features, nn.Identity())


def _vit(model: tv.VisionTransformer) -> Trunk:
    model.heads = nn.Identity()
    return Trunk(model, model.hidden_dim, nn.Identity(), is_map=False)


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


def set_last_stride(model: nn.Module, stride: int) -> None:
    """Set the stride of a ResNet's last stage; other networks only know 2, their own.

    Raises:
        ValueError: If the stride is not 1 or 2, or is 1 for another network.

    """
    if stride not in (1, 2):
        raise ValueError(f"last_stride must be 1 or 2, not {stride}")
    if stride == 2:
        return
    if not isinstance(model, tv.ResNet):
        raise ValueError("last_stride is an argument of the ResNets alone")
    for module in model.layer4[0].modules():
        if isinstance(module, nn.Conv2d) and module.stride == (2, 2):
            module.stride = (stride, stride)


def set_bn_eps(model: nn.Module, eps: float) -> None:
    """Set the epsilon of every batch normalisation.

    Raises:
        ValueError: If it is not above zero.

    """
    if eps <= 0:
        raise ValueError(f"bn_eps must be > 0, not {eps}")
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps = eps
