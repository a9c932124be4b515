"""Small backbones: shapes, pooling against closed forms, weights from files, messages."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn

from ibc_pyg.errors import ConfigError
from ibc_pyg.nn.backbones import ConvNet, SmallResNet, backbone_names, make_backbone
from ibc_pyg.nn.backbones.pooling import GeM, make_pooling


def test_conv4_by_hand() -> None:
    torch.manual_seed(0)
    net = make_backbone("conv4", 16, in_channels=1, width=8).eval()
    x = torch.randn(3, 1, 28, 28)
    y = x
    convs = [m for m in net.modules() if isinstance(m, nn.Conv2d)]
    assert [c.out_channels for c in convs] == [8] * 4
    for conv in convs:  # at the start BatchNorm in eval mode divides by sqrt(1 + eps)
        y = F.relu(F.conv2d(y, conv.weight, padding=1) / (1 + 1e-5) ** 0.5)
        y = F.max_pool2d(y, 2, ceil_mode=True)
    last = [m for m in net.modules() if isinstance(m, nn.Linear)][-1]
    expected = F.linear(y.amax((2, 3)), last.weight, last.bias)
    # Same operations in the same order: rounding alone.
    torch.testing.assert_close(net(x), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("stem_stride", [1, 2])
@pytest.mark.parametrize("grid", [1, 2, 3])
@pytest.mark.parametrize("pooling", ["max", "avg", "gem"])
def test_convnet_shapes_and_gradients(stem_stride: int, grid: int, pooling: str) -> None:
    net = ConvNet(
        3,
        10,
        widths=[4, 6, 8],
        stem_stride=stem_stride,
        grid=grid,
        pooling=pooling,  # type: ignore[arg-type]
    )
    for side in (28, 33, 64):
        assert net(torch.randn(2, 3, side, side)).shape == (2, 10)
    net(torch.randn(4, 3, 28, 28)).square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())


def test_channels_last_gives_the_same() -> None:
    net = make_backbone("conv4", 16, in_channels=3).eval()
    x = torch.randn(2, 3, 28, 28)
    expected = net(x)
    actual = net.to(memory_format=torch.channels_last)(x.to(memory_format=torch.channels_last))
    torch.testing.assert_close(actual, expected, atol=1e-5, rtol=1e-4)  # other summing order


def test_gem_between_average_and_maximum() -> None:
    x = torch.rand(2, 5, 6, 7) + 0.1
    torch.testing.assert_close(GeM(p=1.0)(x)[..., 0, 0], x.mean((2, 3)))
    # (mean x^p)^(1/p) lies below the maximum by a factor of at most 42^(1/p).
    high = GeM(p=60.0)(x.clamp(min=0.5))[..., 0, 0]
    ratio = high / x.clamp(min=0.5).amax((2, 3))
    assert ((ratio > 42 ** (-1 / 60) - 1e-4) & (ratio <= 1 + 1e-4)).all()


def test_global_maximum_is_the_adaptive_one_to_the_bit() -> None:
    torch.manual_seed(0)
    x, weight = torch.randn(3, 8, 5, 4).relu(), torch.randn(3, 8)  # with many ties
    ours, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    found, wanted = make_pooling("max")(ours), F.adaptive_max_pool2d(theirs, 1).flatten(1)
    assert torch.equal(found, wanted)
    (found * weight).sum().backward()
    (wanted * weight).sum().backward()
    assert ours.grad is not None
    assert theirs.grad is not None
    assert torch.equal(ours.grad, theirs.grad)


def test_pooling_in_cells() -> None:
    x = torch.arange(16.0).view(1, 1, 4, 4)
    assert make_pooling("max", 2)(x).tolist() == [[5.0, 7.0, 13.0, 15.0]]
    assert make_pooling("avg", 2)(x).tolist() == [[2.5, 4.5, 10.5, 12.5]]
    assert make_pooling("max", 4)(x).tolist() == [list(range(16))]


@pytest.mark.parametrize(
    ("name", "args", "says"),
    [
        ("conv5", {}, "model.backbone: there is no backbone 'conv5'; did you mean conv4"),
        ("resnet5", {}, "did you mean resnet50"),
        ("qqqqqq", {}, "choose one of"),
        ("conv4", {"wdth": 3}, "no argument 'wdth'"),
        ("conv4", {"width": 0}, "widths must be one or more numbers >= 1"),
        ("conv4", {"grid": 0}, "grid must be at least 1, got 0"),
        ("conv4", {"pooling": "mean"}, "pooling must be one of"),
        ("conv4", {"stem_stride": 3}, "stem_stride must be 1 or 2, not 3"),
    ],
)
def test_errors_name_the_field(name: str, args: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigError, match=r"model\.backbone") as caught:
        make_backbone(name, 8, in_channels=1, **args)
    assert says in str(caught.value)


def test_names_are_sorted_within_families_and_unique() -> None:
    names = backbone_names()
    assert len(set(names)) == len(names)
    assert {"conv4", "resnet50", "vit_b_16", "mobilenet_v2"} <= set(names)


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_weights_from_a_file(tmp_path: Path, suffix: str) -> None:
    source = make_backbone("conv4", 8, in_channels=1, width=4)
    path = tmp_path / f"weights{suffix}"
    if suffix == ".pt":
        torch.save(source.state_dict(), path)
    else:
        save_file(source.state_dict(), path)
    target = make_backbone("conv4", 8, in_channels=1, width=4, weights=str(path))
    for key, value in source.state_dict().items():
        assert torch.equal(target.state_dict()[key], value)
    with pytest.raises(ConfigError, match=r"embedding\.weight.*\[8, 4\].*\[9, 4\]"):
        make_backbone("conv4", 9, in_channels=1, width=4, weights=str(path))
    with pytest.raises(ConfigError, match=r"features\.8\.0\.weight is missing"):
        make_backbone("conv4", 8, in_channels=1, width=4, depth=5, weights=str(path))
    with pytest.raises(ConfigError, match=r"unexpected key features"):
        make_backbone("conv4", 8, in_channels=1, width=4, depth=3, weights=str(path))


class Payload:
    """An object that runs code when it is unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (print, ("unpickled",))


@pytest.mark.parametrize("content", ["missing", "text", "pickle", "list", "safetensors"])
def test_bad_weight_files(tmp_path: Path, content: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / ("w.safetensors" if content == "safetensors" else "w.pt")
    if content in ("text", "safetensors"):
        path.write_text("not weights")
    elif content == "pickle":
        torch.save(Payload(), path)
    elif content == "list":
        torch.save([torch.zeros(1)], path)
    with pytest.raises(ConfigError, match=r"model\.weights") as caught:
        make_backbone("conv4", 8, in_channels=1, weights=str(path))
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "unpickled" not in capsys.readouterr().out


def test_residual_network_by_hand() -> None:
    torch.manual_seed(0)
    net = make_backbone("resnet6", 16, in_channels=1, width=4, widths=[4, 6], grid=7).eval()
    for (
        module
    ) in net.modules():  # statistics as after training, so that every BatchNorm has an effect
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-0.1, 0.1)  # type: ignore[union-attr]
            module.running_var.uniform_(0.5, 1.5)  # type: ignore[union-attr]
    state = net.state_dict()

    def norm(x: torch.Tensor, name: str) -> torch.Tensor:
        mean, var = (state[f"{name}.running_{key}"].view(1, -1, 1, 1) for key in ("mean", "var"))
        return (x - mean) / (var + 1e-5).sqrt()  # weight 1 and bias 0 at the start

    def convolve(x: torch.Tensor, name: str, stride: int = 1) -> torch.Tensor:
        weight = state[f"{name}.0.weight"]
        y = F.conv2d(x, weight, stride=stride, padding=weight.shape[-1] // 2)
        return norm(y, f"{name}.1")

    x = torch.randn(3, 1, 28, 28)
    y = F.relu(convolve(x, "stem", 2))  # [3, 4, 14, 14]
    y = F.relu(convolve(F.relu(convolve(y, "stages.0.first")), "stages.0.second") + y)
    main = convolve(F.relu(convolve(y, "stages.1.first", 2)), "stages.1.second")
    short = F.conv2d(F.avg_pool2d(y, 2), state["stages.1.shortcut.1.weight"])
    y = F.relu(main + norm(short, "stages.1.shortcut.2"))  # [3, 6, 7, 7]
    expected = F.linear(y.flatten(1), state["embedding.weight"], state["embedding.bias"])
    torch.testing.assert_close(net(x), expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("side", [28, 33, 64])
def test_residual_network_takes_any_side(side: int) -> None:
    net = SmallResNet(3, 10, width=4, widths=(4, 6, 8), blocks=[1, 2, 1], stem_stride=1, grid=4)
    assert net(torch.randn(2, 3, side, side)).shape == (2, 10)


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ({"widths": []}, "widths must be one or more"),
        ({"widths": [4, 0]}, "widths must be one or more"),
        ({"blocks": [1]}, "blocks must be a number >= 1 for each"),
        ({"blocks": 0}, "blocks must be a number >= 1 for each"),
        ({"kernel_size": 4}, "kernel_size must be odd"),
        ({"stem_stride": 0}, "stem_stride must be 1 or 2"),
        ({"width": 0}, "width must be at least 1"),
    ],
)
def test_residual_network_refuses(args: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigError, match=r"model\.backbone_args") as caught:
        make_backbone("resnet6", 8, **args)
    assert says in str(caught.value)


def test_the_backbone_of_a_run_is_taken_from_its_weights(tmp_path: Path) -> None:
    source = make_backbone("conv4", 8, in_channels=1, width=4)
    whole = {f"backbone.{key}": value for key, value in source.state_dict().items()}
    save_file(
        whole | {"auxiliary_head.linear.weight": torch.zeros(3, 8)}, tmp_path / "m.safetensors"
    )
    target = make_backbone(
        "conv4", 8, in_channels=1, width=4, weights=str(tmp_path / "m.safetensors")
    )
    assert all(torch.equal(target.state_dict()[k], v) for k, v in source.state_dict().items())
    with pytest.raises(ConfigError, match=r"another network\? Their first key is embedding.bias"):
        make_backbone("resnet6", 8, in_channels=1, weights=str(tmp_path / "m.safetensors"))
    with pytest.raises(ConfigError, match="is a folder"):
        make_backbone("conv4", 8, in_channels=1, weights=str(tmp_path))


def test_small_networks_have_no_published_weights() -> None:
    with pytest.raises(
        ConfigError, match=r"model\.weights: there are no published weights of conv4"
    ):
        make_backbone("conv4", 16, weights="pretrained")
