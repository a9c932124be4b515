"""A run that started from a file of weights can be used without the file."""

import pytest
from safetensors.torch import load_file, save_file

from ibc_pyg.errors import ConfigError
from ibc_pyg.inference.trained import load_run
from ibc_pyg.runs.checkpoint import list_checkpoints
from ibc_pyg.training.experiment import setup
from ibc_pyg.training.run import resume, train
from tests.helpers.digits_run import quick, quiet, records


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Train a run and remove the file of its initial weights."""
    folder = tmp_path_factory.mktemp("runs")
    first = train(quick("--train.epochs", "1"), folder / "first", quiet())
    start = folder / "start.safetensors"
    inside = load_file(first.weights)
    prefix = "backbone."
    backbone = {k.removeprefix(prefix): v for k, v in inside.items() if k.startswith(prefix)}
    save_file(backbone, start)
    made = train(quick("--model.weights", str(start)), folder / "second", quiet())
    start.rename(folder / "moved.safetensors")
    return made


def test_it_can_be_opened_and_used_as_teacher(run):
    assert not load_run(run.path).model.training
    term = f"[{{name: FeatureDistillation, args: {{teacher: {run.path}}}}}]"
    assert setup(quick("--loss.terms", term)).loss.terms[0].teacher is not None


def test_it_can_be_resumed(run):
    before, history = run.weights.read_bytes(), records(run)
    run.summary.unlink()
    last = list_checkpoints(run.checkpoints)[-1]
    for file in last.iterdir():
        file.unlink()
    last.rmdir()
    resume(run.path, quiet())
    assert run.weights.read_bytes() == before
    assert records(run) == history


def test_missing_file_of_a_new_run_is_an_error(run, tmp_path):
    with pytest.raises(ConfigError, match=r"model\.weights"):
        setup(quick("--model.weights", str(tmp_path / "gone.safetensors")))
