"""Exported network in onnxruntime compared with the model in torch."""

import builtins
import io
import json

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from rich.console import Console

from ibc_pyg.cli import run
from ibc_pyg.config.files.yaml_file import parse_config
from ibc_pyg.inference.eval_set import EvalSet
from ibc_pyg.inference.trained import load_run
from ibc_pyg.training.run import train


@pytest.fixture(scope="module", params=["conv4", "resnet18"])
def trained(request, tmp_path_factory):
    options = [
        "--data.name", "digits", "--data.classes_per_batch", "4", "--data.images_per_class", "2",
        "--data.transform", "none", "--data.transform_args", "{image_size: 8}",
        "--model.backbone", request.param, "--model.embedding_dim", "32", "--train.epochs", "1",
        "--train.lr_milestones", "[]", "--select", "last", "--evaluate.clustering", "false",
    ]  # fmt: skip
    out = tmp_path_factory.mktemp("export") / "run"
    return load_run(train(parse_config(None, options), out, Console(file=io.StringIO())).path)


@pytest.mark.parametrize("batch", [1, 5])
def test_onnxruntime_computes_the_same_descriptors(trained, batch, capsys):
    assert run(["export", str(trained.run.path)]) == 0
    path = trained.run.path / "model.onnx"
    pixels = EvalSet(trained).data.table.images[:batch].transpose(0, 3, 1, 2)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (found,) = session.run(["descriptor"], {"pixels": pixels.astype(np.float32)})
    with torch.no_grad():
        expected = trained.model.embed(trained.transform.test(torch.from_numpy(pixels)))
    # Other kernels, float32.
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-5)
    facts = {prop.key: prop.value for prop in onnx.load(path).metadata_props}
    assert json.loads(facts["ibc_pyg"])["image_size"] == 8


def test_missing_package_is_a_one_line_error(trained, capsys, monkeypatch):
    found = builtins.__import__

    def missing(name, *rest, **named):
        if name == "onnx":
            raise ImportError(name)
        return found(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", missing)
    assert run(["export", str(trained.run.path)]) == 2
    assert 'pip install "ibc-pyg[onnx]"' in capsys.readouterr().err


def test_a_network_without_an_operator_is_named(trained, capsys, monkeypatch):
    class Eigenvalues(torch.nn.Module):
        def forward(self, x):
            return torch.linalg.eigvalsh(x[:, 0])

    monkeypatch.setattr("ibc_pyg.export.onnx.descriptor_of", lambda _: Eigenvalues())
    assert run(["export", str(trained.run.path)]) == 2
    err = capsys.readouterr().err
    assert "cannot be exported: No ONNX function found" in err
    assert "linalg_eigh" in err
    assert len(err.splitlines()) == 1


def test_folder_that_is_not_a_run(capsys, tmp_path):
    assert run(["export", str(tmp_path)]) == 2
    assert "no config.yaml" in capsys.readouterr().err
