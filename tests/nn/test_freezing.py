"""Frozen parts of the backbone, against weights and statistics before and after steps."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ibc_pyg.builders.optimization.freezing import set_frozen
from ibc_pyg.builders.optimization.optimizer import build_optimizer
from ibc_pyg.config.files.yaml_file import parse_config
from ibc_pyg.errors import ConfigError
from ibc_pyg.nn.backbones import make_backbone
from ibc_pyg.nn.freezing import is_within
from ibc_pyg.nn.heads import LinearHead
from ibc_pyg.nn.model import IntraBatchModel


def model_of(name: str = "resnet6") -> IntraBatchModel:
    torch.manual_seed(0)
    args = {"width": 4, "widths": [4, 8], "pooling": "gem"} if name == "resnet6" else {}
    backbone = make_backbone(name, 8, **args)
    return IntraBatchModel(backbone, None, [], LinearHead(8, 3)).train()


def train(model: IntraBatchModel, options: list[str], epochs: list[float]) -> torch.optim.Optimizer:
    config = parse_config(
        None, ["--train.weight_decay", "0.1", "--train.decoupled_weight_decay", "true", *options]
    )
    optimizer = build_optimizer(config.train, model)
    for epoch in epochs:
        set_frozen(model, config, epoch)
        optimizer.zero_grad()
        model(torch.randn(6, 3, 32, 32)).auxiliary_logits.square().sum().backward()
        optimizer.step()
    return optimizer


def changed(model: nn.Module, before: dict[str, torch.Tensor]) -> set[str]:
    return {key for key, value in model.state_dict().items() if not torch.equal(value, before[key])}


def snapshot(model: nn.Module) -> dict[str, torch.Tensor]:
    return {key: value.clone() for key, value in model.state_dict().items()}


def test_in_the_first_epochs_only_new_layers_and_heads_are_trained() -> None:
    model = model_of()
    before = snapshot(model)
    optimizer = train(model, ["--train.freeze_backbone_epochs", "1.5"], [0.0, 0.5, 1.0, 1.4])
    new = {"backbone.embedding.weight", "backbone.embedding.bias", "backbone.pooling.pool.p"}
    assert changed(model, before) == new | {
        "auxiliary_head.linear.weight", "auxiliary_head.linear.bias",
    }  # fmt: skip
    # The optimiser has no moments of them.
    frozen = [v for k, v in model.backbone.named_parameters() if k.startswith(("stem", "stages"))]
    assert not any(parameter in optimizer.state for parameter in frozen)


def test_later_all_layers_are_trained() -> None:
    model = model_of()
    before = snapshot(model)
    train(model, ["--train.freeze_backbone_epochs", "1.5"], [1.0, 1.5, 1.6])
    assert changed(model, before) == set(before)


def test_named_parts_stay_frozen() -> None:
    model = model_of("resnet18")
    before = snapshot(model)
    options = ["--model.freeze", "[body.conv1, body.bn1, body.layer1]"]
    train(model, options, [0.0, 5.0])
    kept = ("backbone.body.conv1.", "backbone.body.bn1.", "backbone.body.layer1.")
    assert changed(model, before) == {key for key in before if not key.startswith(kept)}
    model.eval()
    model.train()
    assert not model.backbone.body.bn1.training  # type: ignore[union-attr]
    assert model.backbone.body.layer2[0].bn1.training  # type: ignore[union-attr, index]


def test_a_part_is_not_a_prefix_of_a_name() -> None:
    assert is_within("body.layer1.0.weight", ["body.layer1"])
    assert not is_within("body.layer10.weight", ["body.layer1"])


def test_unknown_part() -> None:
    config = parse_config(None, ["--model.freeze", "[body.layr1]"])
    with pytest.raises(ConfigError, match=r"no part 'body\.layr1'; did you mean body\.layer1"):
        set_frozen(model_of("resnet18"), config, 0.0)
