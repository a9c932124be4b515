"""`evaluate`: table and JSON of runs, ensembles, views, refinement, and embedding files."""

import io
import json
import shutil

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from rich.console import Console
from safetensors.torch import load_file, save_file

from ibc_pyg.cli import run as command
from ibc_pyg.config.files.yaml_file import parse_config
from ibc_pyg.data.sample import make_sample
from ibc_pyg.inference.eval_set import EvalSet
from ibc_pyg.inference.refined.refine import refine
from ibc_pyg.inference.trained import load_run
from ibc_pyg.metrics import (
    clustering_metrics,
    k_reciprocal_rerank,
    list_metrics,
    retrieval_metrics,
)
from ibc_pyg.training.run import train

SMALL = [
    "--data.classes_per_batch", "4", "--data.images_per_class", "4", "--select", "last",
    "--model.embedding_dim", "16", "--model.heads", "2", "--model.backbone_args", "{width: 4}",
    "--train.epochs", "1", "--train.lr_milestones", "[]", "--train.evaluate_every", "0",
]  # fmt: skip
DIGITS = ["--data.name", "digits", "--data.transform", "none"]
DIGITS_8 = [*DIGITS, "--data.transform_args", "{image_size: 8}"]
DIGITS_12 = [*DIGITS, "--data.transform_args", "{image_size: 8, resize: 12}"]


def make_run(out, *options):
    return train(parse_config(None, [*SMALL, *options]), out, Console(file=io.StringIO())).path


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Train two runs of one data set and a third without message passing."""
    folder = tmp_path_factory.mktemp("runs")
    return {
        "a": make_run(folder / "a", *DIGITS_12),
        "b": make_run(folder / "b", *DIGITS_12, "--train.seed", "1", "--model.embedding_dim", "8"),
        "plain": make_run(folder / "plain", *DIGITS_8, "--model.steps", "0"),
    }


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """Train a run with queries and gallery: 8 test classes, 3 queries of each."""
    folder = tmp_path_factory.mktemp("shop")
    root = make_sample("inshop", folder / "images", classes=8, images=8)
    return make_run(
        folder / "run", "--data.name", "inshop", "--data.root", str(root),
        "--data.allow_partial", "true", "--data.transform", "imagenet",
        "--data.transform_args", "{image_size: 16, resize: 20}",
    )  # fmt: skip


def evaluate(capsys, tmp_path, *arguments):
    """Run the command; return its JSON and its rows: name to cells."""
    file = tmp_path / "metrics.json"
    assert command(["evaluate", *map(str, arguments), "--json", str(file)]) == 0
    title, head, *rows = capsys.readouterr().out.splitlines()
    assert "queries" in title
    names = head.split()
    table = {}
    for row in rows:
        if row.startswith(("NMI:", "Note:")):
            continue
        cells = row.split()
        table[" ".join(cells[: -len(names)])] = dict(zip(names, cells[-len(names) :], strict=True))
    return json.loads(file.read_text()), table


def fails(capsys, *arguments):
    code = command(["evaluate", *map(str, arguments)])
    error = capsys.readouterr().err
    assert code == 2, error
    lines = [line for line in error.splitlines() if "the data set is incomplete" not in line]
    assert len(lines) == 1, error
    return lines[0]


def metrics_of(vectors, labels, ks=(1, 2, 4, 8), **arguments):
    return retrieval_metrics(vectors, labels, ks=ks, **arguments)


def included(part, whole):
    return {name: whole.get(name) for name in part} == part


def test_scores_of_a_run_equal_its_summary(capsys, tmp_path, runs):
    kept = (runs["a"] / "descriptors.safetensors").stat().st_mtime_ns
    found, table = evaluate(capsys, tmp_path, runs["a"])
    summary = json.loads((runs["a"] / "summary.json").read_text())
    names = ("R@1", "R@8", "MAP@R", "RP", "NMI", "AMI", "ARI", "queries", "queries_without_match")
    assert included({name: summary[name] for name in names}, found)
    assert table == {"a": {k: f"{found[k]:.4f}" for k in table["a"]}}
    assert (found["flip"], found["crops"], found["refine"]) == (False, 1, "none")
    assert found["select"] == "last"
    for name in ("clusters", "plus_plus", "swaps", "restarts", "iterations", "seed"):
        assert f"kmeans_{name}" in found
    assert (runs["a"] / "descriptors.safetensors").stat().st_mtime_ns == kept


@pytest.mark.parametrize("method", ["mpn", "mpn_k_reciprocal", "mpn_cluster"])
def test_refinement_adds_a_row(capsys, tmp_path, runs, method):
    found, table = evaluate(capsys, tmp_path, runs["a"], "--refine", method, "--refine-size", "5")
    assert list(table) == ["a", f"a [refine {method} 5]"]
    trained = load_run(runs["a"])
    refined = refine(trained.model, EvalSet(trained).extract(), method, 5, seed=0).queries
    assert included(metrics_of(refined.vectors, refined.labels), found["refined"])
    assert found["refined"]["refine"] == found["refine"] == method
    assert found["refined"]["refine_size"] == found["refine_size"] == 5
    assert found["refined"]["MAP@R"] != found["MAP@R"]
    clusters = clustering_metrics(refined.vectors, refined.labels, seed=0)
    assert found["refined"]["NMI"] == pytest.approx(clusters["NMI"])


def test_reranking_adds_a_row(capsys, tmp_path, runs):
    found, table = evaluate(capsys, tmp_path, runs["a"], "--rerank", "--ks", "1,3")
    assert list(table) == ["a", "a [re-ranked]"]
    part = EvalSet(load_run(runs["a"])).extract().queries
    # MAP@R needs lists of the size of the largest class.
    length = int(part.labels.bincount().max())
    lists = k_reciprocal_rerank(part.vectors, None, length).indices
    assert found["reranked"] == pytest.approx(list_metrics(lists, part.labels, ks=(1, 3)))


def test_an_ensemble_concatenates_descriptors(capsys, tmp_path, runs):
    file = tmp_path / "e.npz"
    found, table = evaluate(
        capsys, tmp_path, runs["a"], runs["b"], "--refine", "mpn", "--save-embeddings", file
    )
    assert list(table) == [
        name + more
        for name in ("a", "b", "mean of 2", "ensemble of 2")
        for more in ("", " [refine mpn 7]")
    ]
    assert [each["run"] for each in found["runs"]] == ["a", "b"]
    descriptors = [EvalSet(load_run(runs[name])).extract().queries for name in "ab"]
    joined = F.normalize(torch.cat([each.vectors for each in descriptors], 1), dim=1)
    assert joined.shape[1] == 24
    assert included(metrics_of(joined, descriptors[0].labels), found["ensemble"])
    for name in ("R@1", "MAP@R", "NMI"):
        values = [each[name] for each in found["runs"]]
        assert found["mean"][name] == pytest.approx(sum(values) / 2)
        refined = [each["refined"][name] for each in found["runs"]]
        assert found["mean"]["refined"][name] == pytest.approx(sum(refined) / 2)
    alone, _ = evaluate(capsys, tmp_path, runs["b"], "--refine", "mpn")
    assert found["runs"][1]["refined"] == alone["refined"]
    # The saved descriptors are those of the last row: the refined ensemble.
    with np.load(file) as saved:
        last = metrics_of(saved["embeddings"], saved["labels"])
    assert included(last, found["ensemble"]["refined"])


def test_views_are_named_and_averaged(capsys, tmp_path, runs):
    usual, _ = evaluate(capsys, tmp_path, runs["a"])
    found, table = evaluate(capsys, tmp_path, runs["a"], "--flip", "--crops", "5")
    assert list(table) == ["a [flip, 5 crops]"]
    assert (found["flip"], found["crops"]) == (True, 5)
    assert found["MAP@R"] != usual["MAP@R"]
    again, _ = evaluate(capsys, tmp_path, runs["a"])
    assert again == usual, "the run is unchanged"


def test_queries_and_gallery(capsys, tmp_path, shop):
    file = tmp_path / "shop.npz"
    found, table = evaluate(
        capsys, tmp_path, shop, "--flip", "--crops", "5", "--refine", "mpn_k_reciprocal",
        "--rerank", "--save-embeddings", file,
    )  # fmt: skip
    assert list(table) == [
        "run [flip, 5 crops]",
        "run [flip, 5 crops, refine mpn_k_reciprocal 7]",
        "run [flip, 5 crops, re-ranked]",
    ]
    # The protocol of the data set is not part of the configuration.
    recalls = ["R@1", "R@10", "R@20", "R@30", "R@40"]
    for scores in (found, found["refined"], found["reranked"]):
        assert [name for name in scores if name.startswith("R@")] == recalls
        assert "NMI" not in scores
    with np.load(file, allow_pickle=False) as saved:
        assert saved["embeddings"].shape == (32, 16)
        assert saved["gallery"].shape == (32, 16)
        assert [path.split("/")[3] for path in saved["paths"]] == [
            f"id_{label + 1:08d}" for label in saved["labels"]
        ]
        expected = metrics_of(
            saved["embeddings"],
            saved["labels"],
            ks=(1, 10, 20, 30, 40),
            gallery=saved["gallery"],
            gallery_labels=saved["gallery_labels"],
        )
    assert included(expected, found["refined"])
    again, table = evaluate(capsys, tmp_path, "--embeddings", file, "--ks", "40,1,10,1")
    assert list(table["shop.npz"]) == ["R@1", "R@10", "R@40", "MAP@R", "RP"]
    assert included({name: expected[name] for name in ("R@10", "MAP@R", "RP")}, again)


def test_embeddings_of_another_program(capsys, tmp_path):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(120, 6)) * rng.uniform(1, 9, (120, 1)), rng.integers(0, 9, 120)
    y[7] = 99
    file = tmp_path / "theirs.npz"
    np.savez(file, embeddings=x, labels=y)
    found, table = evaluate(capsys, tmp_path, "--embeddings", file, "--rerank")
    assert included(metrics_of(x, y), found)
    assert found["queries_without_match"] == 1
    assert list(table) == ["theirs.npz", "theirs.npz [re-ranked]"]
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    assert found["NMI"] == pytest.approx(clustering_metrics(unit, y)["NMI"])


def test_recorded_recalls(capsys, tmp_path, shared):
    for name, keys in (
        ("recall_same_set", {"x": "embeddings", "y": "labels"}),
        (
            "recall_query_gallery",
            {"query": "embeddings", "query_y": "labels", "gallery": "gallery",
             "gallery_y": "gallery_labels"},
        ),
    ):  # fmt: skip
        with np.load(shared / "conformance" / f"{name}.npz") as recorded:
            np.savez(tmp_path / "x.npz", **{ours: recorded[key] for key, ours in keys.items()})
            ks, recall = recorded["ks"].tolist(), recorded["recall"].tolist()
        found, _ = evaluate(
            capsys, tmp_path, "--embeddings", tmp_path / "x.npz", "--ks", ",".join(map(str, ks))
        )
        assert [found[f"R@{k}"] for k in ks] == pytest.approx(recall, abs=1e-12)


def test_invalid_input_is_a_one_line_error(capsys, tmp_path, runs, shop):
    a, b, plain = (runs[name] for name in ("a", "b", "plain"))
    assert "--embeddings FILE" in fails(capsys)
    assert "not a folder" in fails(capsys, a, tmp_path / "none")
    assert "inshop against digits" in fails(capsys, a, shop)
    assert "without message passing" in fails(capsys, a, plain, "--refine", "mpn")
    assert "evaluate.refine_size is 9000" in fails(
        capsys, a, "--refine", "mpn", "--refine-size", "9000"
    )
    assert "all crops are the same" in fails(capsys, plain, "--crops", "5")
    assert "--crops" in fails(capsys, a, "--crops", "3")
    assert "--refine" in fails(capsys, a, "--refine", "best")
    for ks in ("0", "1,-2", "1,,2", "", "a", "1e3", "9" * 30):
        assert "--ks" in fails(capsys, a, f"--ks={ks}")
    assert "--refine-size" in fails(capsys, a, "--refine-size", "0")
    missing = tmp_path / "no" / "x"
    assert "folder does not exist" in fails(capsys, b, "--json", missing)
    assert "folder does not exist" in fails(capsys, b, "--save-embeddings", missing)


def test_outputs_do_not_overwrite_inputs(capsys, tmp_path, runs):
    file = tmp_path / "e.npz"
    np.savez(file, embeddings=np.eye(4, 2), labels=[0, 0, 1, 1])
    before = file.read_bytes()
    assert "would be overwritten" in fails(capsys, "--embeddings", file, "--json", file)
    assert file.read_bytes() == before
    twice = tmp_path / "out"
    assert "would be overwritten" in fails(
        capsys, runs["a"], "--json", twice, "--save-embeddings", twice
    )
    config = runs["a"] / "config.yaml"
    assert "belongs to the run" in fails(capsys, runs["a"], "--json", config)
    assert "is a folder" in fails(capsys, runs["a"], "--save-embeddings", tmp_path)


def test_invalid_combinations_of_runs_and_options(capsys, runs):
    assert "given twice" in fails(capsys, runs["a"], runs["a"] / ".." / runs["a"].name)
    assert "plain: a run without message passing" in fails(
        capsys, runs["a"], runs["plain"], "--refine", "mpn"
    )
    assert "no effect without --refine" in fails(capsys, runs["a"], "--refine-size", "5")


def test_all_seeds_of_an_ensemble_are_printed(capsys, runs):
    assert command(["evaluate", str(runs["a"]), str(runs["b"])]) == 0
    assert "seeds 0, 1" in " ".join(capsys.readouterr().out.split())


def clouds_of(count, classes):
    y = np.arange(count) % classes
    rng = np.random.default_rng(0)
    return rng.normal(size=(classes, 8))[y] + rng.normal(size=(count, 8)), y


def test_embeddings_exclude_options_of_runs(capsys, tmp_path, runs):
    file = tmp_path / "e.npz"
    np.savez(file, embeddings=np.eye(4, 2), labels=[0, 0, 1, 1])
    assert command(["evaluate", "--embeddings", str(file), "--ks", "1,999999999"]) == 0
    capsys.readouterr()
    assert "one or the other" in fails(capsys, runs["a"], "--embeddings", file)
    refined = fails(capsys, "--embeddings", file, "--refine", "mpn")
    assert "--refine mpn needs a finished run; embeddings alone are refined by aqe" in refined
    for option in (["--flip"], ["--crops", "5"], ["--refine-size", "2"],
                   ["--save-embeddings", "x.npz"]):  # fmt: skip
        assert f"{option[0]} needs a model" in fails(capsys, "--embeddings", file, *option)
    np.savez(file, embeddings=np.eye(4, 2), labels=[0, 1, 2, 3])
    assert "nothing to score" in fails(capsys, "--embeddings", file)
    np.savez(file, embeddings=np.eye(4, 2), labels=np.array([{}] * 4))
    assert "e.npz" in fails(capsys, "--embeddings", file)
    file.write_bytes(b"")
    assert "e.npz" in fails(capsys, "--embeddings", file)


@pytest.mark.parametrize("method", ["aqe", "dba", "gcr", "diffusion", "gnn", "k_reciprocal"])
def test_embeddings_are_refined_without_a_model(capsys, tmp_path, method):
    x, y = clouds_of(60, 6)
    np.savez(tmp_path / "e.npz", embeddings=x, labels=y)
    np.savez(tmp_path / "g.npz", embeddings=x[:20], labels=y[:20], gallery=x[20:],
             gallery_labels=y[20:])  # fmt: skip
    for file in ("e.npz", "g.npz"):
        found, text = evaluate(capsys, tmp_path, "--embeddings", tmp_path / file, "--refine",
                               method, "--refine-k", 4)  # fmt: skip
        assert found["refined"]["refine"] == method
        assert found["refined"]["refine_k"] == 4
        assert found["refined"]["MAP@R"] >= found["MAP@R"] - 0.02
        assert any(f"refine {method} (k 4, " in row for row in text)
        lists = method in ("diffusion", "gnn", "k_reciprocal")
        assert ("NMI" in found["refined"]) == (file == "e.npz" and not lists)


def test_refinement_of_a_run_and_of_an_ensemble(capsys, tmp_path, runs):
    one, _ = evaluate(capsys, tmp_path, runs["a"], "--refine", "dba", "--refine-share", 1)
    assert one["refined"]["R@1"] == pytest.approx(one["R@1"])
    both, text = evaluate(capsys, tmp_path, runs["a"], runs["plain"], "--refine", "gnn")
    assert both["ensemble"]["refined"]["MAP@R"] > 0
    assert any(row.startswith("ensemble of 2 [refine gnn (k 10") for row in text)
    saved = ["--refine", "aqe", "--save-embeddings", tmp_path / "x.npz"]
    assert "use --refine dba" in fails(capsys, runs["a"], *saved)


def test_parameters_that_do_not_apply(capsys, runs):
    for method in ("none", "mpn"):
        message = fails(capsys, runs["a"], "--refine", method, "--refine-k", 3)
        assert "refine_k has no effect" in message
    message = fails(capsys, runs["a"], "--refine", "k_reciprocal", "--refine-size", 7)
    assert "or --refine mpn_k_reciprocal for k-reciprocal neighbourhoods" in message
    message = fails(capsys, runs["a"], "--refine", "k_reciprocal", "--refine-rounds", 2)
    assert "k_reciprocal has no parameter rounds" in message


def test_weights_that_are_not_finite_are_a_one_line_error(capsys, tmp_path, runs):
    broken = tmp_path / "broken"
    shutil.copytree(runs["a"], broken)
    weights = load_file(broken / "model.safetensors")
    save_file(
        {name: torch.full_like(value, torch.nan) if value.is_floating_point() else value
         for name, value in weights.items()},
        broken / "model.safetensors",
    )  # fmt: skip
    assert "NaN" in fails(capsys, broken)
    assert "NaN" in fails(capsys, broken, "--refine", "mpn", "--rerank")
