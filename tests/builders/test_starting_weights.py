"""A run from a file of weights does not need that file once it has weights of its own."""

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
    """A run whose starting weights have gone since."""
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


def test_it_is_used_and_teaches(run):
    assert not load_run(run.path).model.training
    term = f"[{{name: FeatureDistillation, args: {{teacher: {run.path}}}}}]"
    assert setup(quick("--loss.terms", term)).loss.terms[0].teacher is not None


def test_it_is_resumed(run):
    before, history = run.weights.read_bytes(), records(run)
    run.summary.unlink()
    last = list_checkpoints(run.checkpoints)[-1]
    for file in last.iterdir():
        file.unlink()
    last.rmdir()
    resume(run.path, quiet())
    assert run.weights.read_bytes() == before
    assert records(run) == history


def test_one_that_has_no_checkpoint_needs_it(run, tmp_path):
    with pytest.raises(ConfigError, match=r"model\.weights"):
        setup(quick("--model.weights", str(tmp_path / "gone.safetensors")))
