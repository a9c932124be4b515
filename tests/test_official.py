"""Released checkpoints: recorded outputs of the released code, and a plain twin of it."""

from __future__ import annotations

import json
import math
import pickle
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor

from ibc_pyg.errors import RunError
from ibc_pyg.official import encoder_from_state_dict, load_state_dict_file, mpn_from_state_dict

StateDict = dict[str, Tensor]
TOL = {"atol": 1e-5, "rtol": 1e-5}


def grad_of_logits(logits: list[Tensor], x: Tensor) -> Tensor:
    ramps = [torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view_as(y) for y in logits]
    total = sum((y * ramp).sum() for y, ramp in zip(logits, ramps, strict=True))
    return torch.autograd.grad(total, x)[0]


@pytest.mark.parametrize("name", ["mpn_cub_like", "mpn_cars_like"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_mpn_meets_the_recorded_outputs(shared: Path, name: str, prefix: str) -> None:
    recorded = torch.load(shared / "conformance" / f"{name}.pt", weights_only=True)
    state_dict = {prefix + key: value for key, value in recorded["state_dict"].items()}
    mpn = mpn_from_state_dict(state_dict, recorded["config"]["num_heads"])
    assert mpn.layout.steps == recorded["config"]["num_layers"]
    assert mpn.layout.num_classes == recorded["config"]["num_classes"]
    x = recorded["x"].requires_grad_()
    out = mpn(x)
    assert len(out.features) == len(recorded["features"])
    torch.testing.assert_close(out.features, recorded["features"], **TOL)
    torch.testing.assert_close(out.logits, recorded["logits"], **TOL)
    torch.testing.assert_close(grad_of_logits(out.logits, x), recorded["grad_x"], **TOL)


def released_mpn(
    dim: int = 12,
    steps: int = 2,
    classes: int = 5,
    *,
    red: int = 1,
    every: bool = False,
    cat: bool = False,
    neck: bool = True,
    mlp: bool = True,
    norm: bool = True,
    seed: int = 0,
) -> StateDict:
    """Random weights under the released key names, in the released order."""
    torch.manual_seed(seed)
    width = dim // red
    shapes: dict[str, tuple[int, ...]] = {"dim_red.weight": (width, dim), "dim_red.bias": (width,)}
    for i in range(steps):
        at = f"gnn_model.node_model.layers.{i}."
        for part in ("q_linear", "v_linear", "k_linear", "out"):
            shapes |= {f"{at}att.{part}.weight": (width, width), f"{at}att.{part}.bias": (width,)}
        if mlp:
            shapes |= {f"{at}linear1.weight": (4 * width, width), f"{at}linear1.bias": (4 * width,)}
            shapes |= {f"{at}linear2.weight": (width, 4 * width), f"{at}linear2.bias": (width,)}
        if norm:
            for part in ("norm1", "norm2"):
                shapes |= {f"{at}{part}.weight": (width,), f"{at}{part}.bias": (width,)}
    head_width = steps * width if cat else width
    heads = range(steps if every else 1)
    for i in heads if neck else ():
        for part in ("weight", "bias", "running_mean", "running_var"):
            shapes[f"bottleneck.{i}.{part}"] = (head_width,)
    for i in heads:
        shapes[f"fc.{i}.weight"] = (classes, head_width)
        if not neck:
            shapes[f"fc.{i}.bias"] = (classes,)
    state_dict = {key: 0.4 * torch.randn(shape) for key, shape in shapes.items()}
    for key in state_dict:
        if key.endswith("running_var"):
            state_dict[key] = 0.5 + torch.rand(head_width)
    if neck:
        for i in heads:
            state_dict[f"bottleneck.{i}.num_batches_tracked"] = torch.tensor(3)
    return state_dict


def twin(
    w: StateDict, x: Tensor, num_heads: int, *, res1: bool = True, res2: bool = True
) -> tuple[list[Tensor], list[Tensor]]:
    """The method written against the released keys: every line a formula."""

    def linear(name: str, rows: Tensor) -> Tensor:
        return F.linear(rows, w[f"{name}.weight"], w.get(f"{name}.bias"))

    x = linear("dim_red", x)
    N, D = x.shape
    C = D // num_heads
    outs = []
    steps = 1 + max(int(k.split(".")[3]) for k in w if k.startswith("gnn_model"))
    for i in range(steps):
        at = f"gnn_model.node_model.layers.{i}."
        q, k, v = (linear(f"{at}att.{p}_linear", x).view(N, num_heads, C) for p in "qkv")
        score = torch.einsum("ihc,jhc->hij", q, k) / math.sqrt(C)
        m = score.amax(-1, keepdim=True).clamp(min=0)
        alpha = (score - m).exp() / ((score - m).exp().sum(-1, keepdim=True) + (-m).exp())
        update = linear(f"{at}att.out", torch.einsum("hij,jhc->ihc", alpha, v).reshape(N, D))
        x = x + update if res1 else update
        if f"{at}norm1.weight" in w:
            x = F.layer_norm(x, (D,), w[f"{at}norm1.weight"], w[f"{at}norm1.bias"])
        update = x
        if f"{at}linear1.weight" in w:
            update = linear(f"{at}linear2", linear(f"{at}linear1", x).relu())
        x = x + update if res2 else update
        if f"{at}norm2.weight" in w:
            x = F.layer_norm(x, (D,), w[f"{at}norm2.weight"], w[f"{at}norm2.bias"])
        outs.append(x)
    heads = sum(k.startswith("fc.") and k.endswith("weight") for k in w)
    if heads == 1:
        outs = [torch.cat(outs, 1)] if w["fc.0.weight"].size(1) > D else outs[-1:]
    logits = []
    for i, f in enumerate(outs):
        if f"bottleneck.{i}.weight" in w:
            b = {p: w[f"bottleneck.{i}.{p}"] for p in ("running_mean", "running_var")}
            f = (f - b["running_mean"]) / (b["running_var"] + 1e-5).sqrt()
            f = f * w[f"bottleneck.{i}.weight"] + w[f"bottleneck.{i}.bias"]
        logits.append(linear(f"fc.{i}", f))
    return outs, logits


@pytest.mark.parametrize("steps", [1, 2, 4])
@pytest.mark.parametrize("neck", [True, False])
@pytest.mark.parametrize(
    "form",
    [
        {},
        {"every": True},
        {"cat": True},
        {"red": 2},
        {"red": 3, "every": True},
        {"mlp": False},
        {"norm": False, "cat": True},
    ],
)
@pytest.mark.parametrize("num_heads", [1, 4])
def test_mpn_of_any_form_is_the_twin(
    steps: int, neck: bool, form: dict[str, int], num_heads: int
) -> None:
    # In float64: without norms the features grow into the thousands.
    state_dict = released_mpn(24 if "red" in form else 12, steps, neck=neck, **form)
    state_dict = {k: v.double() if v.is_floating_point() else v for k, v in state_dict.items()}
    mpn = mpn_from_state_dict(state_dict, num_heads)
    assert not mpn.training
    x = F.normalize(torch.randn(17, mpn.layout.channels).double(), dim=1).requires_grad_()
    features, logits = twin(state_dict, x, num_heads)
    out = mpn(x)
    assert len(out.features) == len(out.logits) == (steps if form.get("every") else 1)
    torch.testing.assert_close(out.features, features)
    torch.testing.assert_close(out.logits, logits)
    torch.testing.assert_close(grad_of_logits(out.logits, x), grad_of_logits(logits, x))


@pytest.mark.parametrize(("res1", "res2"), [(False, True), (True, False), (False, False)])
def test_residuals_that_weights_do_not_tell(res1: bool, res2: bool) -> None:
    state_dict = released_mpn()
    mpn = mpn_from_state_dict(state_dict, 2, residual_conv=res1, residual_mlp=res2)
    x = F.normalize(torch.randn(9, 12), dim=1)
    features, logits = twin(state_dict, x, 2, res1=res1, res2=res2)
    torch.testing.assert_close(mpn(x).features, features, **TOL)
    torch.testing.assert_close(mpn(x).logits, logits, **TOL)


def test_mpn_owns_its_weights_and_can_go_on_training() -> None:
    state_dict = released_mpn()
    before = {key: value.clone() for key, value in state_dict.items()}
    mpn = mpn_from_state_dict(state_dict, 2).train()
    optimiser = torch.optim.SGD(mpn.parameters(), lr=0.1)
    sum(y.square().sum() for y in mpn(torch.randn(9, 12)).logits).backward()
    optimiser.step()
    assert all(torch.equal(before[key], state_dict[key]) for key in before)
    frozen = [name for name, p in mpn.named_parameters() if not p.requires_grad]
    assert frozen == ["heads.0.norm.bias"]
    half = mpn_from_state_dict({key: value.half() for key, value in before.items()}, 2)
    assert half(torch.randn(9, 12)).logits[0].dtype == torch.float32


def test_building_draws_no_random_number() -> None:
    state_dict = released_mpn()
    before = torch.get_rng_state()
    mpn_from_state_dict(state_dict, 2)
    assert torch.equal(before, torch.get_rng_state())


def without(key: str) -> Callable[[StateDict], StateDict]:
    return lambda d: {k: v for k, v in d.items() if k != key}


STEP = "gnn_model.node_model.layers."


@pytest.mark.parametrize(
    ("change", "key"),
    [
        (lambda d: {"conv1.weight": torch.zeros(64, 3, 7, 7)} | d, "conv1.weight"),
        (without("dim_red.weight"), "dim_red.weight"),
        (without("dim_red.bias"), "dim_red.bias"),
        (without(f"{STEP}1.att.out.bias"), f"{STEP}1.att.out.bias"),
        (without(f"{STEP}1.norm2.weight"), f"{STEP}1.norm2.weight"),
        (without("fc.0.weight"), "fc.0"),
        (without("bottleneck.0.running_var"), "bottleneck.0.running_var"),
        (lambda d: d | {f"{STEP}1.linear1.weight": torch.zeros(3, 12)}, f"{STEP}1.linear1.weight"),
        (lambda d: d | {f"{STEP}7.norm1.weight": torch.zeros(12)}, f"{STEP}7.norm1.weight"),
        (lambda d: d | {f"{STEP}999999999.norm1.bias": torch.zeros(12)}, f"{STEP}999999999"),
        (lambda d: d | {"fc.0.bias": torch.zeros(5)}, "fc.0.bias"),
        (lambda d: d | {"fc.0.weight": torch.zeros(5)}, "fc.0.weight"),
        (lambda d: d | {"fc.0.weight": torch.zeros(5, 13)}, "fc.0.weight"),
        (lambda d: d | {f"fc.{i}.weight": torch.zeros(5, 12) for i in (1, 2)}, "fc.2.weight"),
        (lambda d: d | {"dim_red.weight": torch.zeros(12, 13)}, "dim_red.weight"),
        (lambda d: d | {"epoch": 3}, "epoch"),
    ],
)
def test_wrong_mpn_is_refused_by_its_first_bad_key(
    change: Callable[[StateDict], StateDict], key: str
) -> None:
    with pytest.raises(RunError, match=f"'{key}"):
        mpn_from_state_dict(change(released_mpn()), 2)


@pytest.mark.parametrize("nothing", [{}, [], None, torch.zeros(3)])
def test_what_is_no_state_dict_is_refused(nothing: object) -> None:
    for build in (lambda d: mpn_from_state_dict(d, 1), encoder_from_state_dict):
        with pytest.raises(RunError, match="state dict"):
            build(nothing)


@pytest.mark.parametrize("num_heads", [0, 5, -2])
def test_heads_must_divide_the_width(num_heads: int) -> None:
    with pytest.raises(ValueError, match=f"num_heads={num_heads} and 12"):
        mpn_from_state_dict(released_mpn(), num_heads)


def filled_encoder(keys: dict[str, list[int]], seed: int) -> StateDict:
    """Weights by the recipe in encoder_resnet50.json."""
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


def test_encoder_meets_the_recorded_outputs(shared: Path) -> None:
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
    """Random weights of torchvision's own network under the released key names."""
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
def test_encoder_of_any_depth_is_torchvisions_with_max_pooling(
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
def test_wrong_encoder_is_refused_by_its_first_bad_key(
    change: Callable[[StateDict], StateDict], key: str
) -> None:
    with pytest.raises(RunError, match=f"'{key}'"):
        encoder_from_state_dict(change(released_encoder("resnet18", 64, 5, neck=False)))


def test_encoder_refuses_other_shapes_than_images() -> None:
    encoder = encoder_from_state_dict(released_encoder("resnet18", 64, 5, neck=False))
    with pytest.raises(ValueError, match=r"images must have shape .* got \[3, 8, 8\]"):
        encoder(torch.zeros(3, 8, 8))


class Trick:
    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return exec, ("raise SystemExit('the file was run')",)


def test_files_are_read_without_running_them(tmp_path: Path) -> None:
    state_dict = released_mpn()
    torch.save({f"module.{k}": v for k, v in state_dict.items()}, tmp_path / "plain.pth")
    torch.save({"state_dict": state_dict, "epoch": 3}, tmp_path / "nested.pth")
    torch.save(state_dict, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    safetensors.torch.save_file(state_dict, tmp_path / "safe.safetensors")
    for name in ("plain.pth", "nested.pth", "old.pth", "safe.safetensors"):
        loaded = load_state_dict_file(tmp_path / name)
        assert set(loaded) == set(state_dict)
        assert all(torch.equal(loaded[key], state_dict[key]) for key in loaded)


def test_bad_files_are_refused_in_one_line(tmp_path: Path) -> None:
    torch.save({"w": torch.zeros(1), "trick": Trick()}, tmp_path / "trick.pth")
    (tmp_path / "raw.pth").write_bytes(pickle.dumps(Trick()))
    torch.save(torch.nn.Linear(2, 2), tmp_path / "module.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    torch.save({"w": 3}, tmp_path / "numbers.pth")
    torch.save(released_mpn(), tmp_path / "cut.pth")
    (tmp_path / "cut.pth").write_bytes((tmp_path / "cut.pth").read_bytes()[:500])
    (tmp_path / "text.pth").write_text("not weights")
    (tmp_path / "empty.pth").write_bytes(b"")
    (tmp_path / "text.safetensors").write_text("not weights")
    (tmp_path / "folder.pth").mkdir()
    for path in [*sorted(tmp_path.iterdir()), tmp_path / "missing.pth"]:
        with pytest.raises(RunError) as caught:
            load_state_dict_file(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)
        assert caught.value.__cause__ is None
