"""Code of any kind that a run folder names is not executed without `--trust-code`."""

import shutil
from pathlib import Path

import pytest
from PIL import Image

from ibc_pyg import cli
from ibc_pyg.builders.plugged import check_code
from ibc_pyg.config import Config, ModelConfig
from ibc_pyg.config.files.yaml_file import config_from_yaml, config_to_yaml, parse_config
from ibc_pyg.config.plugged import INNER_LAYERS, plugged, plugged_code
from ibc_pyg.nn.conv.specs import SPECS
from ibc_pyg.plugins import KINDS
from ibc_pyg.training.run import train
from tests.helpers.digits_run import quiet
from tests.helpers.index_pictures import save_picture, save_pictures
from tests.helpers.plugs import SMALL, naming

OPENED = [name for name, kind in KINDS.items() if kind.opens]
EVIL = """
from pathlib import Path
Path(__file__).with_suffix(".executed").touch()
def evil(*args, **kwargs):
    raise RuntimeError("called")
"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "finished"
    return train(parse_config(None, SMALL), out, quiet()).path


@pytest.fixture
def stranger(finished, tmp_path):
    """Return a function that copies the run with code in the field of a kind."""
    file = tmp_path / "evil.py"
    file.write_text(EVIL)
    run = tmp_path / "run"

    def make(kind):
        shutil.copytree(finished, run)
        config = naming(config_from_yaml(run / "config.yaml"), kind, f"{file}:evil")
        (run / "config.yaml").write_text(config_to_yaml(config))
        return run, file

    return make


def executed(file: Path) -> bool:
    return file.with_suffix(".executed").exists()


@pytest.mark.parametrize(
    ("kind", "command"),
    [(name, "evaluate") for name in KINDS]
    + [(name, command) for name in OPENED for command in ("report", "search", "export")],
)
def test_a_stranger_s_run_is_opened_without_its_code(kind, command, stranger, tmp_path, capsys):
    run, file = stranger(kind)
    Image.new("L", (8, 8)).save(tmp_path / "query.png")
    words = [command, str(run), *([str(tmp_path / "query.png")] if command == "search" else [])]
    code = cli.run(words)
    said = capsys.readouterr().err
    assert not executed(file)
    if not KINDS[kind].opens:
        assert code == 0
        return
    assert code == 2
    assert said.count("\n") == 1
    assert all(word in said for word in (str(run), str(file), "--trust-code"))


@pytest.mark.parametrize("kind", KINDS)
def test_a_stranger_s_run_is_not_resumed(kind, stranger, capsys):
    run, file = stranger(kind)
    (run / "summary.json").unlink()
    shutil.rmtree(run / "checkpoints")
    assert cli.run(["train", "--resume", str(run)]) == 2
    said = capsys.readouterr().err
    assert all(word in said for word in (str(run), str(file), "--trust-code"))
    assert not executed(file)
    assert cli.run(["train", "--resume", str(run), "--trust-code"]) == 2
    assert executed(file)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("command", ["refine", "extend"])
def test_a_stranger_s_run_is_not_trained_again(kind, command, stranger, capsys):
    run, file = stranger(kind)
    words = {"refine": ["refine"], "extend": ["train", "--extend", "1"]}[command]
    assert cli.run([*words, str(run)]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    # A schedule of the user is not extended at all.
    if (command, kind) != ("extend", "schedule"):
        assert all(word in said for word in (str(run), str(file), "--trust-code"))
    assert not executed(file)


NEWER = {
    "explain": ["query.png"],
    "export": ["--format", "hub"],
    "refine": ["--folds", "1"],
    "index build": ["photos", "--out", "new.index"],
    "index plan": ["photos", "--shards", "1", "--out", "job"],
}


@pytest.mark.parametrize("kind", OPENED)
def test_a_stranger_s_run_is_not_opened_by_newer_commands(
    kind, stranger, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    save_pictures(tmp_path / "photos", 3)
    save_picture(tmp_path / "query.png", 99)
    run, file = stranger(kind)
    for command, words in NEWER.items():
        assert cli.run([*command.split(), str(run), *words]) == 2
        said = capsys.readouterr().err
        assert said.count("\n") == 1, command
        assert all(word in said for word in (str(run), str(file), "--trust-code")), command
    assert not executed(file)


@pytest.mark.parametrize("kind", OPENED)
def test_an_index_does_not_execute_the_code_of_its_model(
    kind, finished, stranger, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    save_pictures(tmp_path / "photos", 3)
    query = str(save_picture(tmp_path / "query.png", 99))
    assert cli.run(["index", "build", str(finished), "photos", "--out", "own.index"]) == 0
    run, file = stranger(kind)
    model = ["--model", str(run)]
    capsys.readouterr()
    for words in (
        ["search", "own.index", query],
        ["index", "sync", "own.index", "--reembed"],
        ["index", "add", "own.index", query],
        ["serve", "own.index", "--port", "0"],
    ):
        assert cli.run([*words, *model]) == 2
        assert "--trust-code" in capsys.readouterr().err, words
    assert not executed(file)


@pytest.mark.parametrize("kind", KINDS)
def test_references_of_every_kind_are_listed(kind, tmp_path):
    for name, file, module in (
        ("parts/own.py:Own", Path("parts/own.py"), None),
        ("own.parts:Own", None, "own.parts"),
    ):
        config = naming(Config(), kind, name)
        (found,) = plugged(config)
        assert (found.kind.name, found.name, found.reference) == (kind, name, name)
        assert found.field.replace(".0", "[]") == KINDS[kind].field
        assert (found.file, found.module) == (file, module)
        assert plugged_code(config) == {name}
        check_code(config, tmp_path, trust=False, known=[name])
    assert plugged(Config()) == []


def test_timm_s_networks_are_no_code_of_the_user():
    config = Config(model=ModelConfig(backbone="timm:resnet18"))
    assert plugged(config) == []


def test_every_layer_inside_a_layer_is_known():
    assert {spec.inner for spec in SPECS.values()} - {None} == set(INNER_LAYERS)


@pytest.mark.parametrize("command", ["train", "compare"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_stranger_s_experiment_is_not_trained(kind, command, tmp_path, capsys):
    file = tmp_path / "evil.py"
    file.write_text(EVIL)
    experiment = tmp_path / "experiment.yaml"
    config = naming(parse_config(None, SMALL), kind, f"{file}:evil")
    experiment.write_text(config_to_yaml(config))
    words = [command, str(experiment), "--out", str(tmp_path / "out")]
    assert cli.run(words) == 2
    said = capsys.readouterr().err
    (found,) = plugged(config)
    assert said.count("\n") == 1
    assert all(word in said for word in (found.field, str(file), "--trust-code"))
    assert not executed(file)
