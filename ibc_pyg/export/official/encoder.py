"""Released checkpoints of the backbone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

from ibc_pyg.errors import RunError
from ibc_pyg.export.official.checkpoint import (
    check_known,
    clean_state_dict,
    count_numbered,
    load_renamed,
    require,
)
from ibc_pyg.nn.heads import BNNeckHead, LinearHead

_WHAT = "a released ResNet encoder"
_NORM = r"(weight|bias|running_mean|running_var|num_batches_tracked)"
_KNOWN = (
    r"conv1\.weight",
    rf"bn1\.{_NORM}",
    r"layer[1-4]\.\d+\.conv[123]\.weight",
    rf"layer[1-4]\.\d+\.bn[123]\.{_NORM}",
    r"layer[1-4]\.\d+\.downsample\.0\.weight",
    rf"layer[1-4]\.\d+\.downsample\.1\.{_NORM}",
    r"(red|fc)\.(weight|bias)",
    rf"bottleneck\.{_NORM}",
)


@dataclass(frozen=True)
class ResNetLayout:
    """Layout of a ResNet.

    Attributes:
        bottleneck: Whether blocks have three convolutions instead of two.
        blocks: Number of blocks of each of the four stages.
        groups: Groups of the 3x3 convolutions.
        width_per_group: Channels per group in the first stage.
    """

    bottleneck: bool
    blocks: tuple[int, int, int, int]
    groups: int = 1
    width_per_group: int = 64


RESNETS: dict[str, ResNetLayout] = {
    "resnet18": ResNetLayout(False, (2, 2, 2, 2)),
    "resnet34": ResNetLayout(False, (3, 4, 6, 3)),
    "resnet50": ResNetLayout(True, (3, 4, 6, 3)),
    "resnet101": ResNetLayout(True, (3, 4, 23, 3)),
    "resnet152": ResNetLayout(True, (3, 8, 36, 3)),
    "resnext50_32x4d": ResNetLayout(True, (3, 4, 6, 3), 32, 4),
    "resnext101_32x8d": ResNetLayout(True, (3, 4, 23, 3), 32, 8),
    "wide_resnet50_2": ResNetLayout(True, (3, 4, 6, 3), 1, 128),
    "wide_resnet101_2": ResNetLayout(True, (3, 4, 23, 3), 1, 128),
}


class OfficialEncoder(nn.Module):
    """Released encoder: ResNet, global max pooling, linear layer; and its classifier.

    Attributes:
        architecture: Key of `RESNETS`.
        embed_dim: Width of an embedding.
        num_classes: Number of classes.
        last_stride: Whether the last stage keeps the resolution (stride 1).
        backbone: ResNet of torchvision without its pooling and classifier.
        embedding: Linear layer from ResNet features to embeddings, or the identity.
        head: Classifier of raw embeddings.
    """

    def __init__(
        self,
        architecture: str,
        num_classes: int,
        *,
        embed_dim: int | None = None,
        neck: bool = False,
        last_stride: bool = False,
    ) -> None:
        super().__init__()
        layout = RESNETS[architecture]
        self.backbone = ResNet(
            Bottleneck if layout.bottleneck else BasicBlock,
            list(layout.blocks),
            groups=layout.groups,
            width_per_group=layout.width_per_group,
        )
        channels: int = self.backbone.fc.in_features
        self.backbone.avgpool = nn.Identity()
        self.backbone.fc = nn.Identity()
        if last_stride:
            first = self.backbone.layer4[0]
            (first.conv2 if layout.bottleneck else first.conv1).stride = (1, 1)
            first.downsample[0].stride = (1, 1)
        self.architecture = architecture
        self.embed_dim = channels if embed_dim is None else embed_dim
        self.num_classes = num_classes
        self.last_stride = last_stride
        self.embedding: nn.Module = nn.Identity()
        if embed_dim is not None:
            self.embedding = nn.Linear(channels, embed_dim)
        self.head = (BNNeckHead if neck else LinearHead)(self.embed_dim, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Embed images.

        Args:
            images: Normalised images, `[B, 3, H, W]`; the released weights expect the standard
                deviation 0.299 in the red channel.

        Returns:
            Raw embeddings, not L2-normalised, `[B, embed_dim]`.

        Raises:
            ValueError: If `images` has another shape.
        """
        if images.dim() != 4 or images.size(1) != 3:
            raise ValueError(f"images must have shape [B, 3, H, W], got {list(images.shape)}")
        net = self.backbone
        x = net.maxpool(net.relu(net.bn1(net.conv1(images))))  # [B, 64, H / 4, W / 4]
        x = net.layer4(net.layer3(net.layer2(net.layer1(x))))  # [B, C, H / 32, W / 32]
        x = F.max_pool2d(x, x.shape[-2:]).flatten(1)  # [B, C]
        raw: Tensor = self.embedding(x)  # [B, embed_dim]
        return raw

    def classify(self, raw: Tensor) -> Tensor:
        """Return the logits `[B, num_classes]` of raw embeddings `[B, embed_dim]`."""
        logits: Tensor = self.head(raw)
        return logits


def encoder_from_state_dict(
    state_dict: Mapping[str, Tensor], last_stride: bool = False
) -> OfficialEncoder:
    """Build the encoder of a released checkpoint, with its weights.

    Args:
        state_dict: Tensors by released key, with or without the prefix `module.`.
        last_stride: Whether it was trained with stride 1 in the last stage, which the weights do
            not determine.

    Returns:
        The module in evaluation mode: images `[B, 3, H, W]` to raw embeddings `[B, embed_dim]`;
        `.classify(raw)` computes logits.

    Raises:
        RunError: Naming the first key that does not fit.
    """
    tensors = clean_state_dict(state_dict)
    architecture = read_architecture(tensors)
    num_classes = require(tensors, "fc.weight", 2, _WHAT).size(0)
    reduced = any(key.startswith("red.") for key in tensors)
    embed_dim = require(tensors, "red.weight", 2, _WHAT).size(0) if reduced else None
    with torch.device("meta"):
        module = OfficialEncoder(
            architecture,
            num_classes,
            embed_dim=embed_dim,
            neck=any(key.startswith("bottleneck.") for key in tensors),
            last_stride=last_stride,
        )
    names = {key: _released_name(key) for key in module.state_dict()}
    load_renamed(module, tensors, names, _WHAT)
    return module.eval()


def read_architecture(state_dict: Mapping[str, Tensor]) -> str:
    """Determine the ResNet from keys and shapes.

    Returns:
        A key of `RESNETS`: the smallest network with at least as many blocks in each stage.

    Raises:
        RunError: Naming the first key that does not fit.
    """
    check_known(state_dict, _KNOWN, _WHAT)
    blocks = tuple(count_numbered(state_dict, f"layer{s}.", _WHAT) for s in (1, 2, 3, 4))
    width, per_group = require(state_dict, "layer1.0.conv2.weight", 4, _WHAT).shape[:2]
    bottleneck = "layer1.0.conv3.weight" in state_dict
    matching = [
        name
        for name, layout in RESNETS.items()
        if layout.bottleneck == bottleneck
        and (layout.groups * layout.width_per_group, layout.width_per_group) == (width, per_group)
    ]
    if not matching:
        raise RunError(
            f"not the weights of {_WHAT}: key 'layer1.0.conv2.weight' has shape "
            f"{list(state_dict['layer1.0.conv2.weight'].shape)}, which no known ResNet has"
        )
    for name in matching:
        if all(n <= most for n, most in zip(blocks, RESNETS[name].blocks, strict=True)):
            return name
    most_blocks = RESNETS[matching[-1]].blocks
    stage = next(s for s in range(4) if blocks[s] > most_blocks[s])
    raise RunError(
        f"not the weights of {_WHAT}: unexpected key "
        f"'layer{stage + 1}.{most_blocks[stage]}.conv1.weight'"
    )


def _released_name(key: str) -> str:
    part, name = key.split(".", 1)
    if part == "backbone":
        return name
    if part == "embedding":
        return f"red.{name}"
    return name.replace("norm.", "bottleneck.", 1).replace("linear.", "fc.", 1)
