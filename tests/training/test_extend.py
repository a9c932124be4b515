"""A finished run goes on beyond its end, and is that of all epochs from the beginning."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file

from ibc_pyg import cli
from ibc_pyg.errors import ConfigError, RunError
from ibc_pyg.runs.run_folder import RunFolder
from ibc_pyg.training.extend import extend
from ibc_pyg.training.run import train
from tests.helpers.digits_run import quick, quiet, records

SHORT = ("--train.epochs", "1", "--train.lr_milestones", "[1.5]")


@pytest.fixture(scope="module")
def short(tmp_path_factory):
    return train(quick(*SHORT), tmp_path_factory.mktemp("runs") / "short", quiet()).path


def test_an_extended_run_is_the_longer_one_to_the_last_bit(short, tmp_path, capsys):
    before = {path: path.read_bytes() for path in short.rglob("*") if path.is_file()}
    out = tmp_path / "extended"
    assert cli.run(["train", "--extend", "1", str(short), "--out", str(out)]) == 0
    assert f"the first 1 epochs are those of {short}" in capsys.readouterr().out
    whole = train(quick(*SHORT, "--train.epochs", "2"), tmp_path / "whole", quiet()).path
    assert records(RunFolder(out)) == records(RunFolder(whole))
    found, wanted = (load_file(path / "model.safetensors") for path in (out, whole))
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)
    assert (out / "config.yaml").read_text() == (whole / "config.yaml").read_text()
    summary = json.loads((out / "summary.json").read_text())
    assert (summary["extended_from"], summary["extended_at_epoch"]) == (str(short), 1)
    assert {path: path.read_bytes() for path in before} == before


def test_what_cannot_be_extended(short, tmp_path):
    def copy(name, *fields):
        path = shutil.copytree(short, tmp_path / name)
        for old, new in fields:
            text = (path / "config.yaml").read_text()
            assert old in text
            (path / "config.yaml").write_text(text.replace(old, new))
        return path

    cosine = copy("cosine", ("schedule: steps", "schedule: cosine"))
    with pytest.raises(ConfigError, match="schedule = cosine ends with its last epoch"):
        extend(cosine, 1, tmp_path / "out", quiet())
    with pytest.raises(ConfigError, match="must be >= 1"):
        extend(short, 0, tmp_path / "out", quiet())
    with pytest.raises(RunError, match="already holds a run"):
        extend(short, 1, cosine, quiet())
    without = copy("without")
    shutil.rmtree(without / "checkpoints")
    with pytest.raises(RunError, match="no intact checkpoint"):
        extend(without, 1, tmp_path / "out", quiet())
    unfinished = copy("unfinished")
    (unfinished / "summary.json").unlink()
    with pytest.raises(RunError, match="is not finished"):
        extend(unfinished, 1, tmp_path / "out", quiet())
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("words", [[], ["--train.lr", "1"], ["--dry-run"], ["--resume", "x"]])
def test_mistakes_are_one_line(short, words, capsys):
    given = [] if not words else [str(short)]
    assert cli.run(["train", "--extend", "1", *given, *words]) == 2
    assert capsys.readouterr().err.count("\n") == 1
