"""Gradient checkpointing: equal gradients and statistics, less memory."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
import torchvision.models as tv
from torch import nn

from ibc_pyg.errors import ConfigError
from ibc_pyg.nn.backbones import make_backbone
from ibc_pyg.nn.backbones.torchvision_backbone import TorchvisionBackbone
from ibc_pyg.nn.recompute import Recomputed, recompute_blocks

# Blocks: 4 convolutions, 2 residual ones, BasicBlocks, dense blocks, MBConv, Swin's, ...
BACKBONES: dict[str, tuple[dict[str, Any], int]] = {
    "conv4": ({"width": 8}, 4),
    "resnet6": ({"width": 8, "widths": [8, 16]}, 2),
    "resnet18": ({}, 8),
    "densenet121": ({"drop_rate": 0.2}, 4),
    "mobilenet_v3_small": ({}, 11),
    "swin_t": ({"dropout": 0.1}, 15),
    "vit": ({}, 2),
    "timm:test_resnet": ({}, 4),
    "timm:test_vit": ({"proj_drop_rate": 0.2}, 6),
}


def pair(name: str) -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    args, blocks = BACKBONES[name]
    if name == "vit":  # the named ones have 86 million parameters and more
        small = tv.VisionTransformer(32, 16, 2, 2, hidden_dim=8, mlp_dim=16, dropout=0.1)
        plain: nn.Module = TorchvisionBackbone(small, 8)
    else:
        plain = make_backbone(name, 8, **args)
    plain.train()
    checkpointed = copy.deepcopy(plain)
    assert recompute_blocks(checkpointed) == blocks
    return plain, checkpointed


def step(net: nn.Module, images: torch.Tensor) -> torch.Tensor:
    torch.manual_seed(7)  # dropout and stochastic depth
    result: torch.Tensor = net(images)
    result.square().sum().backward()
    return result


@pytest.mark.parametrize("name", BACKBONES)
def test_gradients_statistics_and_names_are_those_of_the_plain_network(name: str) -> None:
    plain, checkpointed = pair(name)
    images = torch.randn(4, 3, 32, 32)
    torch.testing.assert_close(step(checkpointed, images), step(plain, images))
    assert list(checkpointed.state_dict()) == list(plain.state_dict())
    parameters = zip(checkpointed.named_parameters(), plain.parameters(), strict=True)
    for (key, found), expected in parameters:
        # The same operations; sums may be in another order.
        torch.testing.assert_close(found.grad, expected.grad, rtol=1e-6, atol=1e-6, msg=key)
    # The second forward pass does not update running means, variances and counts.
    for (key, found), expected in zip(checkpointed.named_buffers(), plain.buffers(), strict=True):
        assert torch.equal(found, expected), key


def test_second_pass_has_the_same_dropout() -> None:
    torch.manual_seed(0)
    block = nn.Sequential(nn.Sequential(nn.Linear(64, 64), nn.Dropout(0.5)))
    recompute_blocks(block)
    x = torch.randn(8, 64, requires_grad=True)
    y = block(x)
    before = torch.get_rng_state()
    y.sum().backward()
    assert torch.equal(before, torch.get_rng_state())
    kept = (y != 0).float() * 2
    torch.testing.assert_close(x.grad, kept @ block[0][0].weight)


def test_frozen_blocks_and_evaluation_need_no_gradient() -> None:
    _, checkpointed = pair("resnet18")
    checkpointed.body.layer1.requires_grad_(False)  # type: ignore[union-attr, operator]
    step(checkpointed, torch.randn(2, 3, 32, 32))
    assert checkpointed.body.conv1.weight.grad is not None  # type: ignore[union-attr]
    assert checkpointed.body.layer1[0].conv1.weight.grad is None  # type: ignore[union-attr, index]
    with torch.no_grad():
        assert checkpointed.eval()(torch.randn(2, 3, 32, 32)).grad_fn is None


def saved_bytes(net: nn.Module, images: torch.Tensor) -> int:
    """Bytes that a forward pass stores for the backward pass; each storage counts once."""
    kept: dict[int, int] = {}
    own = {each.data_ptr() for each in net.parameters()}
    alive = []

    def note(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.data_ptr() not in own:
            alive.append(tensor)
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    def note_input(module: nn.Module, args: tuple[torch.Tensor, ...]) -> None:
        note(args[0])

    # A checkpoint stores the block's input, which is not a saved tensor.
    for block in net.modules():
        if isinstance(block, Recomputed):
            block.register_forward_pre_hook(note_input)
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        net(images)
    return sum(kept.values())


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small", "timm:test_vit"])
def test_less_is_stored(name: str) -> None:
    plain, checkpointed = pair(name)
    images = torch.randn(4, 3, 32, 32)
    assert saved_bytes(checkpointed, images) < 0.6 * saved_bytes(plain, images)


def test_a_network_without_blocks_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"model\.gradient_checkpointing: Linear has no blocks"):
        recompute_blocks(nn.Linear(2, 2))
