"""Released encoders: recorded outputs of the released code, and networks of torchvision."""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor

from ibc_pyg.errors import RunError
from ibc_pyg.export.official import encoder_from_state_dict

StateDict = dict[str, Tensor]
TOL = {"atol": 1e-5, "rtol": 1e-5}


def filled_encoder(keys: dict[str, list[int]], seed: int) -> StateDict:
    """Return weights made by the recipe in encoder_resnet50.json."""
    state_dict = {}
    for key, shape in keys.items():
        generator = torch.Generator().manual_seed(zlib.crc32(f"{seed}:{key}".encode()))
        r = torch.randn(shape, generator=generator)
        if key.endswith("num_batches_tracked"):
            r = torch.zeros(shape, dtype=torch.long)
        elif key.endswith("running_var"):
            r = 1 + 0.1 * r.abs()
        elif r.dim() == 4:
            r = r * math.sqrt(2 / (shape[0] * shape[2] * shape[3]))
        elif r.dim() == 2:
            r = r / math.sqrt(shape[1])
        else:
            r = 1 + 0.1 * r if key.endswith(".weight") else 0.1 * r
        state_dict[key] = r
    return state_dict


def test_encoder_matches_the_recorded_outputs(shared: Path) -> None:
    recorded = json.loads((shared / "conformance" / "encoder_resnet50.json").read_text())
    state_dict = filled_encoder(recorded["keys"], recorded["seed"])
    encoder = encoder_from_state_dict({f"module.{k}": v for k, v in state_dict.items()})
    assert encoder.architecture == recorded["arch"]
    assert encoder.num_classes == recorded["num_classes"]
    generator = torch.Generator().manual_seed(recorded["seed"])
    images = torch.randn(2, 3, 96, 96, generator=generator)
    with torch.no_grad():
        raw = encoder(images)
        logits = encoder.classify(raw)
    # Raw embeddings and logits are of order 100: 1e-5 of that.
    torch.testing.assert_close(raw, torch.tensor(recorded["raw"]), atol=1e-3, rtol=1e-5)
    torch.testing.assert_close(logits, torch.tensor(recorded["logits"]), atol=1e-3, rtol=1e-5)
    torch.testing.assert_close(F.normalize(raw, dim=1), torch.tensor(recorded["unit"]), **TOL)


def released_encoder(name: str, embed: int | None, classes: int, neck: bool) -> StateDict:
    """Return random weights of the network of torchvision, with the released key names."""
    torch.manual_seed(0)
    state_dict = torchvision.models.get_model(name, num_classes=classes).state_dict()
    width = state_dict["fc.weight"].size(1) if embed is None else embed
    if embed is not None:
        state_dict["red.weight"] = torch.randn(embed, state_dict["fc.weight"].size(1)) / 20
        state_dict["red.bias"] = torch.randn(embed)
    state_dict["fc.weight"] = torch.randn(classes, width) / 10
    if neck:
        del state_dict["fc.bias"]
        norm = torch.nn.BatchNorm1d(width).state_dict()
        state_dict |= {f"bottleneck.{key}": value for key, value in norm.items()}
        state_dict["bottleneck.running_var"] = torch.rand(width) + 0.5
    for key, value in state_dict.items():
        if "bn" in key and key.endswith("running_mean"):
            value.normal_(std=0.1)
    return state_dict


@pytest.mark.parametrize(
    ("name", "embed", "neck", "last_stride"),
    [
        ("resnet18", None, True, False),
        ("resnet18", 64, False, True),
        ("resnet34", 128, False, False),
        ("resnet50", 512, True, True),
        ("resnet50", None, False, False),
        ("resnet101", 512, False, False),
        ("resnet152", 1024, False, False),
        ("resnext50_32x4d", None, False, False),
        ("wide_resnet50_2", 512, True, False),
    ],
)
def test_encoder_equals_torchvision_with_max_pooling(
    name: str, embed: int | None, neck: bool, last_stride: bool
) -> None:
    state_dict = released_encoder(name, embed, 7, neck)
    encoder = encoder_from_state_dict(state_dict, last_stride=last_stride)
    assert encoder.architecture == name
    assert not encoder.training

    theirs = torchvision.models.get_model(name, num_classes=7).eval()
    backbone = {k: v for k, v in state_dict.items() if not k.startswith(("fc", "red", "bottlen"))}
    theirs.load_state_dict(backbone, strict=False)
    if last_stride:
        for module in theirs.layer4.modules():
            if isinstance(module, torch.nn.Conv2d):
                module.stride = (1, 1)
    seen = []
    theirs.layer4.register_forward_hook(lambda _m, _i, out: seen.append(out))
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        theirs(images)
        want = seen[0].amax((2, 3))
        if embed is not None:
            want = F.linear(want, state_dict["red.weight"], state_dict["red.bias"])
        raw = encoder(images)
        logits = encoder.classify(raw)
    assert seen[0].shape[-1] == (4 if last_stride else 2)
    torch.testing.assert_close(raw, want, **TOL)
    rows = want
    if neck:
        rows = want - state_dict["bottleneck.running_mean"]
        rows = rows / (state_dict["bottleneck.running_var"] + 1e-5).sqrt()
    want_logits = F.linear(rows, state_dict["fc.weight"], state_dict.get("fc.bias"))
    torch.testing.assert_close(logits, want_logits, atol=1e-4, rtol=1e-4)


def without(key: str) -> Callable[[StateDict], StateDict]:
    return lambda d: {k: v for k, v in d.items() if k != key}


@pytest.mark.parametrize(
    ("change", "key"),
    [
        (lambda d: {"dim_red.weight": torch.zeros(3, 3)} | d, "dim_red.weight"),
        (without("conv1.weight"), "conv1.weight"),
        (without("fc.weight"), "fc.weight"),
        (without("fc.bias"), "fc.bias"),
        (without("red.weight"), "red.weight"),
        (without("layer3.1.bn1.bias"), "layer3.1.bn1.bias"),
        (lambda d: {k: v for k, v in d.items() if "layer4" not in k}, "layer4.0"),
        (lambda d: {k: v for k, v in d.items() if "layer2.1" not in k}, "layer2.1.conv1.weight"),
        (lambda d: d | {"layer1.9.conv1.weight": torch.zeros(1)}, "layer1.9.conv1.weight"),
        (lambda d: d | {"red.weight": torch.zeros(64, 500)}, "red.weight"),
        (lambda d: d | {"layer1.0.conv2.weight": torch.zeros(8, 8, 3, 3)}, "layer1.0.conv2.weight"),
        (lambda d: d | {"fc.weight": "seven"}, "fc.weight"),
    ],
)
def test_error_names_the_first_mismatching_key(
    change: Callable[[StateDict], StateDict], key: str
) -> None:
    with pytest.raises(RunError, match=f"'{key}'"):
        encoder_from_state_dict(change(released_encoder("resnet18", 64, 5, neck=False)))


def test_encoder_refuses_other_shapes() -> None:
    encoder = encoder_from_state_dict(released_encoder("resnet18", 64, 5, neck=False))
    with pytest.raises(ValueError, match=r"images must have shape .* got \[3, 8, 8\]"):
        encoder(torch.zeros(3, 8, 8))
