"""Names of a run at W&B: the experiment's, then the environment's, then those of the setting."""

from pathlib import Path

import pytest

from ibc_pyg.config import TrackConfig
from ibc_pyg.config.files.yaml_file import parse_config
from ibc_pyg.runs.run_folder import RunFolder
from ibc_pyg.training import trackers
from ibc_pyg.training.trackers import make_tracker, open_wandb, run_name


class Opened:
    """Stands in for the tracker and keeps its arguments."""

    def __init__(self, mode, **arguments):
        self.arguments = arguments | {"mode": mode}
        self.run_id = "id-0"


@pytest.fixture(autouse=True)
def _opened(monkeypatch):
    monkeypatch.setattr(trackers, "WandbTracker", Opened)
    for name in ("PROJECT", "ENTITY", "NAME", "RUN_GROUP"):
        monkeypatch.delenv(f"WANDB_{name}", raising=False)


def opened(folder, **fields):
    track = TrackConfig(wandb="offline", **fields)
    made = open_wandb(track, folder, "derived", record=folder / "wandb.json", group="grid")
    return [made.arguments[name] for name in ("project", "entity", "name", "group")]


def test_fields_then_environment_then_what_is_derived(tmp_path, monkeypatch):
    assert opened(tmp_path) == ["ibc_pyg", None, "derived", "grid"]
    for name in ("PROJECT", "ENTITY", "NAME", "RUN_GROUP"):
        monkeypatch.setenv(f"WANDB_{name}", f"env-{name.lower()}")
    assert opened(tmp_path) == ["env-project", "env-entity", "env-name", "env-run_group"]
    given = {"project": "p", "entity": "e", "name": "n", "group": "g"}
    assert opened(tmp_path, **given) == list(given.values())


def test_a_run_is_named_by_setting_and_seed(tmp_path):
    config = parse_config(None, ["--track.wandb=offline", "--train.seed=3", "--track.tags", "a, b",
                                 "--select=test"])  # fmt: skip
    (tmp_path / "cub").mkdir()
    made = make_tracker(config, RunFolder(tmp_path / "cub"))
    _, wandb = made.trackers
    assert wandb.arguments["name"] == "cub seed 3"
    assert wandb.arguments["tags"] == ["a", "b", "select=test"]
    assert wandb.arguments["run_id"] is None
    assert (tmp_path / "cub" / "wandb.json").is_file()
    made.trackers[0].close()
    assert run_name(Path("grid/heads=2/seed-3"), 3) == "heads=2 seed 3"


@pytest.mark.parametrize(
    ("words", "tags"),
    [
        (["--track.tags", "a,b"], ["a", "b"]),
        (["--track.tags=a"], ["a"]),
        (["--track.tags", "2024"], ["2024"]),
        (["--track.tags", "[a, b]"], ["a", "b"]),
        (["--track.tags+=a", "--track.tags+=b"], ["a", "b"]),
        (["--track.tags=[]"], []),
    ],
)
def test_tags_are_a_plain_list(words, tags):
    assert parse_config(None, words).track.tags == tags
