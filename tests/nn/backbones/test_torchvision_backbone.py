"""torchvision networks as backbones: parity with the whole network, weights, arguments."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision.models as tv
from torch import nn

from ibc_pyg.errors import ConfigError
from ibc_pyg.nn.backbones import make_backbone
from ibc_pyg.nn.backbones.torchvision_backbone import TorchvisionBackbone, torchvision_names

SMALLEST: dict[str, dict[str, Any]] = {
    "resnet18": {},
    "densenet121": {},
    "mobilenet_v2": {"width_mult": 0.25},
    "mobilenet_v3_small": {},
    "efficientnet_b0": {},
    "convnext_tiny": {},
    "swin_t": {},
}


def last_linear(model: nn.Module) -> nn.Linear:
    return [m for m in model.modules() if isinstance(m, nn.Linear)][-1]


@pytest.mark.parametrize("name", SMALLEST)
def test_average_pooling_gives_torchvisions_features(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    whole = tv.get_model(name, weights=None, **SMALLEST[name]).eval()
    path = tmp_path / "weights.pt"
    torch.save(whole.state_dict(), path)
    ours = make_backbone(name, 8, weights=str(path), pooling="avg", **SMALLEST[name]).eval()
    if name == "mobilenet_v3_small":  # its classifier has a hidden layer
        whole.classifier = nn.Identity()
    else:
        last = last_linear(whole)
        last.weight.data = ours.embedding.weight.data  # type: ignore[union-attr]
        last.bias.data = ours.embedding.bias.data  # type: ignore[union-attr]
    x = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        expected = whole(x)
        if name == "mobilenet_v3_small":
            expected = ours.embedding(expected)  # type: ignore[operator]
        # Same operations in float32, sums in another order.
        torch.testing.assert_close(ours(x), expected, atol=1e-5, rtol=1e-4)


def test_vision_transformer_uses_its_class_token() -> None:
    torch.manual_seed(0)
    # A small one: the named ones have 86 million parameters and more.
    model = tv.VisionTransformer(32, 16, num_layers=2, num_heads=2, hidden_dim=8, mlp_dim=16)
    twin = tv.VisionTransformer(32, 16, num_layers=2, num_heads=2, hidden_dim=8, mlp_dim=16)
    twin.load_state_dict(model.state_dict())
    twin.heads = nn.Identity()
    ours = TorchvisionBackbone(model, 5).eval()
    x = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(ours(x), ours.embedding(twin.eval()(x)))


def test_resnet_uses_max_pooling_by_default() -> None:
    torch.manual_seed(0)
    net = make_backbone("resnet18", 8).eval()
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        expected = net.embedding(net.body(x).amax((2, 3)))  # type: ignore[operator]
        torch.testing.assert_close(net(x), expected)


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_last_stride_one_doubles_the_map(name: str) -> None:
    x = torch.randn(1, 3, 64, 64)
    sides = [
        make_backbone(name, 8, last_stride=stride).eval().body(x).shape[-1]  # type: ignore[operator]
        for stride in (2, 1)
    ]
    assert sides == [2, 4]


def test_grey_images_are_repeated_for_three_channels() -> None:
    net = make_backbone("resnet18", 8, in_channels=1).eval()
    x = torch.randn(2, 1, 32, 32)
    assert torch.equal(net(x), net(x.repeat(1, 3, 1, 1)))


def test_a_whole_backbone_round_trips(tmp_path: Path) -> None:
    source = make_backbone("resnet18", 8)
    torch.save(source.state_dict(), tmp_path / "w.pt")
    target = make_backbone("resnet18", 8, weights=str(tmp_path / "w.pt"))
    for key, value in source.state_dict().items():
        assert torch.equal(target.state_dict()[key], value)


def test_first_key_that_does_not_fit_is_named(tmp_path: Path) -> None:
    path = str(tmp_path / "w.pt")
    state = tv.resnet18(weights=None).state_dict()
    torch.save(state, path)
    with pytest.raises(ConfigError, match=r"layer1\.0\.conv1\.weight is \[64, 64, 3, 3\], not"):
        make_backbone("resnet50", 8, weights=path)
    del state["layer2.0.bn1.weight"]
    torch.save(state, path)
    with pytest.raises(ConfigError, match=r"layer2\.0\.bn1\.weight is missing"):
        make_backbone("resnet18", 8, weights=path)


@pytest.mark.parametrize(
    ("name", "args", "says"),
    [
        ("resnet18", {"weights": "IMAGENET"}, "torchvision has weights IMAGENET1K_V1"),
        ("resnet18", {"in_channels": 2}, "in_channels must be 1 or 3"),
        ("resnet18", {"last_stride": 3}, "last_stride must be 1 or 2"),
        ("densenet121", {"last_stride": 1}, "ResNets only"),
        ("resnet18", {"bn_eps": 0}, "bn_eps must be > 0"),
        ("resnet18", {"nonsense": 1}, "nonsense"),
        ("vit_b_16", {"image_size": 32, "pooling": "max"}, "class token"),
        ("convnext_tiny", {"grid": 2}, "grid must be 1"),
    ],
)
def test_bad_arguments(name: str, args: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=r"model\.") as caught:
        make_backbone(name, 8, **args)
    assert says in str(caught.value)


def test_failed_download_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise OSError("no route to host\nmore")

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", refuse)
    with pytest.raises(ConfigError, match="download it by other means") as caught:
        make_backbone("resnet18", 8, weights="DEFAULT")
    assert "\n" not in str(caught.value)


def test_published_weights_are_never_unpickled(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, object] = {}

    def fetch(url: str, **kwargs: object) -> dict[str, torch.Tensor]:
        seen.update(kwargs)
        # DenseNet's files have old key names.
        state = tv.densenet121(weights=None).state_dict()
        return {
            key.replace("norm1", "norm.1").replace("conv2", "conv.2"): value
            for key, value in state.items()
        }

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", fetch)
    make_backbone("densenet121", 8, weights="IMAGENET1K_V1")
    assert seen["weights_only"] is True


def test_mobilenet_of_another_width_and_epsilon(shared: Path) -> None:
    net = make_backbone(
        "mobilenet_v2",
        128,
        width_mult=0.35,
        bn_eps=1e-3,
        weights=str(shared / "weights" / "mobilenet_v2_0.35_imagenet.pt"),
    ).eval()
    norms = [m for m in net.modules() if isinstance(m, nn.BatchNorm2d)]
    assert {m.eps for m in norms} == {1e-3}
    state = torch.load(shared / "weights" / "mobilenet_v2_0.35_imagenet.pt", weights_only=True)
    own = net.body.state_dict()  # type: ignore[union-attr]
    assert all(torch.equal(own[key], state[key]) for key in own if key in state)
    assert net(torch.rand(1, 3, 64, 64) * 2 - 1).isfinite().all()


def test_every_family_is_listed() -> None:
    assert set(SMALLEST) <= set(torchvision_names())
