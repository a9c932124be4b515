"""Contributions of cells: they sum to the cosine, and say when they are approximate."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import ibc_pyg
from ibc_pyg.builders.data import build_transform
from ibc_pyg.builders.model import build_model
from ibc_pyg.cli import run
from ibc_pyg.config.files.yaml_file import parse_config
from ibc_pyg.errors import DatasetError
from ibc_pyg.explain.batch import circle, mean_edge, strongest_edges
from ibc_pyg.explain.pair import COVERED, EXACT, GRADIENT, POOLED, explain_pair
from ibc_pyg.inference.embedder import Embedder
from tests.helpers.index_pictures import FINISHED_RUN, save_picture
from tests.helpers.pictures import photo

CASES = {
    "conv4 avg": ("conv4", "{width: 8, pooling: avg}", EXACT),
    "conv4 avg grid": ("conv4", "{width: 8, pooling: avg, grid: 2}", EXACT),
    "conv4 max": ("conv4", "{width: 8, pooling: max}", POOLED),
    "resnet6 gem": ("resnet6", "{width: 8, widths: [8, 16], pooling: gem}", POOLED),
    "resnet avg": ("resnet18", "{pooling: avg}", EXACT),
    "convnext": ("convnext_tiny", "{pooling: avg}", GRADIENT),
    "timm": ("timm:resnet10t", "{}", EXACT),
    "timm transformer": ("timm:vit_tiny_patch16_224", "{img_size: 32}", COVERED),
}


@pytest.fixture
def pictures():
    rng = np.random.default_rng(0)
    return photo(), rng.integers(0, 256, (40, 56, 3), dtype=np.uint8)


def embedder_of(backbone, args):
    config = parse_config(
        None,
        ["--model.backbone", backbone, "--model.backbone_args", args,
         "--model.embedding_dim", "16", "--data.transform", "imagenet",
         "--data.transform_args", "{image_size: 32, resize: 36}"],
    )  # fmt: skip
    transform = build_transform(config.data)
    torch.manual_seed(0)
    model = build_model(config.model, num_classes=4, channels=transform.channels)
    return Embedder(model.eval(), transform, config)


@pytest.mark.parametrize("case", CASES)
def test_contributions(case, pictures):
    backbone, args, method = CASES[case]
    embedder = embedder_of(backbone, args)
    found = explain_pair(embedder, *pictures)
    vectors = embedder.embed(list(pictures))
    assert found.cosine == pytest.approx(float(vectors[0] @ vectors[1]), abs=1e-5)
    assert found.method == method
    assert found.exact == (method == EXACT)
    if method != COVERED:
        for cells in found.maps:
            assert cells.sum() == pytest.approx(found.cosine, abs=1e-6)
    assert found.pixels[0].shape == (32, 32, 3)


def test_average_pooling_has_the_closed_form(pictures):
    embedder = embedder_of("conv4", "{width: 8, pooling: avg}")
    found = explain_pair(embedder, *pictures)
    backbone = embedder.backbone
    pixels = torch.cat([embedder.prepare(each) for each in pictures])
    with torch.no_grad():
        f = backbone.features(embedder.transform.normalise(pixels)).double()
        weight, bias = (p.double() for p in backbone.embedding.parameters())
        z = torch.einsum("dc,bchw->bd", weight, f) / f[0, 0].numel() + bias
        for own in (0, 1):
            cells = torch.einsum("dc,chw->dhw", weight, f[own]) + bias[:, None, None]
            other = F.normalize(z[1 - own], dim=0)
            expected = torch.einsum("dhw,d->hw", cells, other) / cells[0].numel() / z[own].norm()
            assert np.allclose(found.maps[own], expected.numpy(), atol=1e-9)


def test_the_division_does_not_depend_on_how_alike_the_pictures_are(pictures):
    for pooling, exact in (("avg", True), ("max", False), ("gem", False)):
        embedder = embedder_of("conv4", f"{{width: 8, pooling: {pooling}}}")
        assert explain_pair(embedder, pictures[0], pictures[0]).exact == exact


def test_a_covered_part_of_a_transformer_counts_where_it_matters(pictures):
    embedder = embedder_of("timm:vit_tiny_patch16_224", "{img_size: 32}")
    found = explain_pair(embedder, pictures[0], pictures[0])
    assert found.cosine == pytest.approx(1, abs=1e-6)
    assert (found.maps[0] >= -1e-6).all()
    assert found.maps[0].max() > 0


def test_a_broken_picture(tmp_path):
    (tmp_path / "x.png").write_bytes(b"no picture")
    embedder = ibc_pyg.load(FINISHED_RUN)
    with pytest.raises(DatasetError, match=r"x\.png"):
        explain_pair(embedder, tmp_path / "x.png", tmp_path / "x.png")


def test_strongest_edges_and_circle():
    weights = np.random.default_rng(0).random((2, 5, 5)).astype(np.float32)
    mean = weights.mean(0)
    edges = strongest_edges(weights, 6)
    off = sorted((float(mean[i, j]) for i in range(5) for j in range(5) if i != j), reverse=True)
    assert [w for _, _, w in edges] == pytest.approx(off[:6])
    assert all(i != j and mean[i, j] == pytest.approx(w) for i, j, w in edges)
    assert mean_edge(weights) == pytest.approx(np.mean(off))
    places = circle(["a", "a", "b", "b", "b"])
    assert np.allclose(np.linalg.norm(places, axis=1), 1)
    gaps = np.linalg.norm(np.roll(places, -1, 0) - places, axis=1)
    assert gaps[[1, 4]].min() > gaps[[0, 2, 3]].max()


def test_command_writes_page_and_picture(tmp_path, capsys):
    first = save_picture(tmp_path / "<b>.png", 0)
    second = save_picture(tmp_path / "b.png", 1)
    page, png = tmp_path / "e.html", tmp_path / "e.png"
    options = ["--html", str(page), "--png", str(png)]
    assert run(["explain", str(FINISHED_RUN), str(first), str(second), *options]) == 0
    out = capsys.readouterr().out
    assert "cosine 0." in out
    text = page.read_text()
    assert "<b>.png" not in text
    assert "strongest edges" in text
    assert png.read_bytes()[:4] == b"\x89PNG"
    assert run(["explain", str(FINISHED_RUN), str(first), "--html", str(page)]) == 0
    assert "cosine" in capsys.readouterr().out
    assert run(["explain", str(FINISHED_RUN), str(tmp_path / "none.png")]) == 2
    assert "is not a file" in capsys.readouterr().err
