"""Released MPNs: recorded outputs of the released code, and a plain reimplementation."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from ibc_pyg.errors import RunError
from ibc_pyg.export.official import mpn_from_state_dict

StateDict = dict[str, Tensor]
TOL = {"atol": 1e-5, "rtol": 1e-5}


def grad_of_logits(logits: list[Tensor], x: Tensor) -> Tensor:
    ramps = [torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view_as(y) for y in logits]
    total = sum((y * ramp).sum() for y, ramp in zip(logits, ramps, strict=True))
    return torch.autograd.grad(total, x)[0]


@pytest.mark.parametrize("name", ["mpn_cub_like", "mpn_cars_like"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_mpn_matches_the_recorded_outputs(shared: Path, name: str, prefix: str) -> None:
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
    """Return random weights with the released key names, in the released order."""
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


def reference(
    w: StateDict, x: Tensor, num_heads: int, *, res1: bool = True, res2: bool = True
) -> tuple[list[Tensor], list[Tensor]]:
    """Compute features and logits from the released keys, formula by formula."""

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
def test_mpn_equals_the_reference(
    steps: int, neck: bool, form: dict[str, int], num_heads: int
) -> None:
    # In float64: without norms the features grow into the thousands.
    state_dict = released_mpn(24 if "red" in form else 12, steps, neck=neck, **form)
    state_dict = {k: v.double() if v.is_floating_point() else v for k, v in state_dict.items()}
    mpn = mpn_from_state_dict(state_dict, num_heads)
    assert not mpn.training
    x = F.normalize(torch.randn(17, mpn.layout.channels).double(), dim=1).requires_grad_()
    features, logits = reference(state_dict, x, num_heads)
    out = mpn(x)
    assert len(out.features) == len(out.logits) == (steps if form.get("every") else 1)
    torch.testing.assert_close(out.features, features)
    torch.testing.assert_close(out.logits, logits)
    torch.testing.assert_close(grad_of_logits(out.logits, x), grad_of_logits(logits, x))


@pytest.mark.parametrize(("res1", "res2"), [(False, True), (True, False), (False, False)])
def test_residuals_are_arguments(res1: bool, res2: bool) -> None:
    state_dict = released_mpn()
    mpn = mpn_from_state_dict(state_dict, 2, residual_conv=res1, residual_mlp=res2)
    x = F.normalize(torch.randn(9, 12), dim=1)
    features, logits = reference(state_dict, x, 2, res1=res1, res2=res2)
    torch.testing.assert_close(mpn(x).features, features, **TOL)
    torch.testing.assert_close(mpn(x).logits, logits, **TOL)


def test_mpn_copies_its_weights_and_can_be_trained() -> None:
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


def test_building_does_not_change_the_random_state() -> None:
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
def test_error_names_the_first_mismatching_key(
    change: Callable[[StateDict], StateDict], key: str
) -> None:
    with pytest.raises(RunError, match=f"'{key}"):
        mpn_from_state_dict(change(released_mpn()), 2)


@pytest.mark.parametrize("num_heads", [0, 5, -2])
def test_heads_must_divide_the_width(num_heads: int) -> None:
    with pytest.raises(ValueError, match=f"num_heads={num_heads} and 12"):
        mpn_from_state_dict(released_mpn(), num_heads)
