"""Every experiment file can be read and built, and the benchmarks hold the published values."""

import re
import shlex
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ibc_pyg.builders.loss import build_loss
from ibc_pyg.builders.model import build_model
from ibc_pyg.builders.optimization.optimizer import build_optimizer, lr_factor
from ibc_pyg.cli import make_parser, run
from ibc_pyg.compare.grid import make_grid
from ibc_pyg.config.files.overlays import parse_overlays
from ibc_pyg.config.files.yaml_file import parse_config
from ibc_pyg.data.registry import DATASETS
from ibc_pyg.data.sampling import SamplerSettings, make_sampler
from ibc_pyg.data.transforms import transform_preset

ROOT = Path(__file__).resolve().parents[1] / "experiments"
# Sweeps are in W&B's format, results are no experiments.
FILES = sorted(path for path in ROOT.rglob("*.yaml") if not {"sweeps", "results"} & set(path.parts))
# Rows of a table are layers over the experiment of a data set.
LAYERS = [
    path for path in FILES if {"baselines", "with_graph", "ablations"} & set(path.parent.parts)
]
WHOLE = [path for path in FILES if path not in LAYERS]
BASELINES = sorted((ROOT / "baselines").glob("*.yaml"))
BENCHMARKS = ("cub", "cars", "sop", "inshop")

# The authors' published search result: P, K, lr, weight decay, T, steps, heads.
PUBLISHED = {
    "cub": (6, 9, 1.563663718906821e-4, 6.059722614369727e-6, 0.2, 1, 2),
    "cars": (10, 7, 3.6683239911604993e-4, 2.551918610962277e-9, 0.1111, 2, 8),
    "sop": (15, 6, 2.472471515853406e-4, 2.7650277063275255e-13, 0.6046908988578005, 1, 8),
    "inshop": (14, 4, 1.1265974954242144e-4, 1.0554824926510768e-7, 0.18591347176280537, 1, 4),
}


def names(files):
    return [str(file.relative_to(ROOT)) for file in files]


def flat(config):
    return {
        f"{part}.{name}" if isinstance(fields, dict) else part: value
        for part, fields in asdict(config).items()
        for name, value in (fields.items() if isinstance(fields, dict) else [("", fields)])
    }


@pytest.mark.parametrize("file", WHOLE, ids=names(WHOLE))
def test_the_parts_of_an_experiment_exist(file):
    config = parse_config(file, [])
    data = config.data
    assert data.name in DATASETS
    transform = transform_preset(data.transform, **data.transform_args)
    P, K = data.classes_per_batch, data.images_per_class
    labels = np.repeat(np.arange(2 * P), K)
    sampler = make_sampler(data.sampler, labels, SamplerSettings(P, K, seed=0))
    assert {len(batch) for batch in sampler} == {P * K}
    # On the meta device nothing is computed, but every shape has to fit.
    with torch.device("meta"):
        model = build_model(
            replace(config.model, weights=None), num_classes=7, channels=transform.channels
        )
        side = transform.image_size
        output = model(torch.empty(P * K, transform.channels, side, side))
        # Further terms compute distances, which a dry run does.
        config = replace(config, loss=replace(config.loss, terms=[], auxiliary_weight=1.0))
        loss = build_loss(config, model, num_classes=7, channels=transform.channels)
        terms = loss(output, torch.zeros(P * K, dtype=torch.int64))
    assert output.embedding.shape == (P * K, config.model.embedding_dim)
    assert output.auxiliary_logits.shape == (P * K, 7)
    assert all(logits.shape == (P * K, 7) for logits in output.node_logits)
    assert bool(output.node_logits) == (config.model.steps > 0)
    assert terms.total.shape == ()
    assert type(build_optimizer(config.train, model)) is torch.optim.RAdam


def dry_run(files, tmp_path, monkeypatch, capsys):
    """Dry-run an experiment where there is no data, and return what it says."""
    monkeypatch.chdir(tmp_path)
    assert run(["train", *map(str, files), "--dry-run", "--train.device", "cpu"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("dry run: ")
    assert said.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
    return said


# A ResNet-50 at 227 px takes half a minute a step.
@pytest.mark.parametrize(
    "file",
    [
        pytest.param(
            file,
            id=name,
            marks=pytest.mark.slow if "resnet50" in file.read_text() else (),
        )
        for file, name in zip(WHOLE, names(WHOLE), strict=True)
    ],
)
def test_dry_run(file, tmp_path, monkeypatch, capsys):
    """A whole step at full size, on a sample in the layout of the set."""
    said = dry_run([file], tmp_path, monkeypatch, capsys)
    config = parse_config(file, [])
    assert config.data.name in said
    P, K = config.data.classes_per_batch, config.data.images_per_class
    if config.data.sampler != "redrawn":
        assert f"a step of {P * K} x " in said


@pytest.mark.parametrize("layer", LAYERS, ids=names(LAYERS))
def test_dry_run_of_a_layer(layer, tmp_path, monkeypatch, capsys):
    said = dry_run([ROOT / "omniglot.yaml", layer], tmp_path, monkeypatch, capsys)
    assert "a synthetic sample of omniglot" in said


def test_a_dry_run_sees_the_data_that_is_there(shared, capsys):
    root = shared / "data" / "omniglot_small"
    file = ROOT / "omniglot.yaml"
    assert run(["train", str(file), "--dry-run", "--data.root", str(root)]) == 0
    assert f"omniglot in {root}" in capsys.readouterr().out


def test_a_dry_run_whose_batch_no_sample_fills(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    fields = ["--data.classes_per_batch", "64"]
    assert run(["train", str(ROOT / "omniglot.yaml"), "--dry-run", *fields]) == 2
    assert "data.classes_per_batch = 64 is more than" in capsys.readouterr().err


def test_a_dry_run_of_a_cut_run_is_refused(tmp_path, capsys):
    assert run(["train", "--dry-run", "--resume", str(tmp_path)]) == 2
    assert "--dry-run cannot be combined with --resume" in capsys.readouterr().err


@pytest.mark.parametrize("file", BASELINES, ids=names(BASELINES))
def test_a_baseline_and_its_graph_differ_in_the_graph_alone(file):
    base = ROOT / "omniglot.yaml"
    plus = ROOT / "with_graph" / f"{file.stem}_graph.yaml"
    baseline, graph = (flat(parse_overlays([base, layer], [])) for layer in (file, plus))
    different = {field for field in graph if graph[field] != baseline[field]}
    assert different == {"model.steps"}
    assert (baseline["model.steps"], graph["model.steps"]) == (0, 1)
    assert graph["loss.node_weight"] == 1
    if file.stem == "ce":
        assert not graph["loss.terms"]
        return
    assert [term["features"] for term in graph["loss.terms"]] == ["embeddings"]
    assert graph["loss.auxiliary_weight"] == 0
    with_ce = ROOT / "with_graph" / "ce_on_embeddings" / f"{file.stem}_graph_ce.yaml"
    auxiliary = flat(parse_overlays([base, with_ce], []))
    assert {field for field in graph if graph[field] != auxiliary[field]} == {
        "loss.auxiliary_weight"
    }


def test_the_commands_of_the_ablations_can_be_read(monkeypatch):
    monkeypatch.chdir(ROOT.parent)
    page = (ROOT / "ablations" / "README.md").read_text()
    commands = re.findall(r"`python run.py (compare BASE .*?)`", page)
    assert len(commands) == 12
    for command in commands:
        words = [
            found
            for word in shlex.split(command.replace("BASE", "experiments/omniglot.yaml"))
            for found in (sorted(map(str, Path().glob(word))) if "*" in word else [word])
        ]
        arguments = make_parser().parse_args(words)
        cells = make_grid(arguments.vary, arguments.layers)
        assert len(cells) > 1
        for cell in cells:
            parse_config(arguments.experiment[0], cell.overrides)


@pytest.mark.parametrize("folder", ["", "paper"])
@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_benchmark_has_the_published_values(name, folder):
    config = parse_config(ROOT / folder / f"{name}.yaml", [])
    P, K, lr, weight_decay, temperature, steps, heads = PUBLISHED[name]
    data, model, train = config.data, config.model, config.train
    assert (data.name, data.classes_per_batch, data.images_per_class) == (name, P, K)
    assert (train.lr, train.weight_decay, train.epochs) == (lr, weight_decay, 70)
    assert config.loss.temperature == pytest.approx(temperature, abs=2e-5)  # Cars: 0.1111 is 1 / 9
    assert config.loss.label_smoothing == 0.1
    assert (model.steps, model.heads, model.conv) == (steps, heads, "IntraBatchConv")
    assert (model.backbone, model.backbone_args) == ("resnet50", {"pooling": "max"})
    assert (model.weights, model.embedding_dim) == ("IMAGENET1K_V1", 512)
    assert model.null_node
    assert model.self_loops
    assert model.node_neck
    assert not model.auxiliary_neck
    transform = transform_preset(data.transform, **data.transform_args)
    assert (transform.image_size, transform.resize) == (227, 256)
    assert transform.std[0] == (0.299 if folder else 0.229)


@pytest.mark.parametrize("name", BENCHMARKS)
def test_where_the_released_code_differs_from_the_honest_protocol(name):
    honest = flat(parse_config(ROOT / f"{name}.yaml", []))
    released = flat(parse_config(ROOT / "paper" / f"{name}.yaml", []))
    different = {field: released[field] for field in honest if honest[field] != released[field]}
    expected = {
        "select": "test",
        "data.sampler": "redrawn" if name == "cub" else "walk",
        "data.transform": "released",
        "train.lr_milestones": [30],
        "train.reload_best_at": [30, 50],
    }
    if name != "inshop":  # its gallery of its own is not clustered
        expected["evaluate.kmeans_exchange"] = False
    if name == "cars":
        expected["model.mpn_args"] = {"concatenate": True}
    if name == "sop":
        expected["loss.node_weight"] = 0
    assert different == expected
    assert honest["select"] == "val"


@pytest.mark.parametrize(
    ("folder", "factors"), [("", [1, 1, 0.1, 0.1, 0.01]), ("paper", [1, 1, 0.1, 0.1, 0.1])]
)
def test_the_learning_rate_drops_where_the_paper_and_the_code_say(folder, factors):
    """Epochs are counted from 0 here: 30 is the first step of the 31st epoch."""
    train = parse_config(ROOT / folder / "cub.yaml", []).train
    got = [lr_factor(train, 1000, epoch) for epoch in (0, 29.99, 30, 49.99, 50)]
    assert got == pytest.approx(factors)


def test_the_recalls_are_those_of_the_papers_tables():
    ks = {name: parse_config(ROOT / f"{name}.yaml", []).evaluate.ks for name in BENCHMARKS}
    assert ks["cub"] == ks["cars"] == [1, 2, 4, 8]
    assert set(ks["sop"]) >= {1, 10, 100}
    assert set(ks["inshop"]) >= {1, 10, 20, 40}
