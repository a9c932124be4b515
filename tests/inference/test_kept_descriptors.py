"""Descriptors that a run keeps are used for the same images and weights, and for no others."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from ibc_pyg.config.yaml_file import parse_config
from ibc_pyg.data.sample import make_sample
from ibc_pyg.data.table import Role
from ibc_pyg.errors import RunError
from ibc_pyg.inference import trained as load_module
from ibc_pyg.inference.trained import load_run
from ibc_pyg.retrieval.search import search
from ibc_pyg.train.run import train

SAMPLE = Path(__file__).resolve().parents[2] / "experiments" / "sample.yaml"


def trained_on(name, tmp_path):
    make_sample(name, tmp_path / "pictures")
    fields = ["--data.name", name, "--data.root", str(tmp_path / "pictures"),
              "--data.workers", "0", "--train.epochs", "1",
              "--train.lr_milestones", "[]"]  # fmt: skip
    if name != "folder":
        fields += ["--data.allow_partial", "true"]
    config = parse_config(SAMPLE, fields)
    return train(config, tmp_path / "run", Console(file=io.StringIO())).path


def refuse(*arguments, **options):
    raise AssertionError("the images were described again")


@pytest.mark.parametrize("name", ["folder", "inshop"])
def test_a_search_describes_nothing_but_the_picture(tmp_path, monkeypatch, name):
    """With a gallery of its own (In-Shop) too."""
    run = load_run(trained_on(name, tmp_path))
    row = int(run.described().candidates.rows[0])
    monkeypatch.setattr(load_module, "extract_split", refuse)
    hits = search(run, run.data.table.root / run.data.table.paths[row], 1)
    assert hits[0].similarity == pytest.approx(1, abs=1e-5)


def test_pictures_that_were_added_or_taken_away_are_noticed(tmp_path):
    """Row numbers shift then: the old descriptors would show other pictures."""
    path = trained_on("folder", tmp_path)
    table = load_run(path).data.table
    picture = table.root / table.paths[table.where(Role.TEST)[-1]]
    added = picture.with_name("000a.jpg")
    added.write_bytes(picture.read_bytes())
    for changed in (added, None):
        if changed is None:
            added.unlink()
        run = load_run(path)
        found = search(run, picture, len(run.data.table))
        places = {hit.path for hit in found}
        assert (str(added) in places) == (changed is not None)
        assert all(Path(place).is_file() for place in places)
        assert found[0].similarity == pytest.approx(1, abs=1e-5)


def test_a_folder_that_cannot_be_written_is_searched_all_the_same(tmp_path, monkeypatch):
    path = trained_on("folder", tmp_path)
    run = load_run(path)
    run.run.descriptors.unlink()

    def read_only(*arguments, **options):
        raise RunError("read-only")

    monkeypatch.setattr(load_module, "save_descriptors", read_only)
    picture = run.data.table.root / run.data.table.paths[-1]
    assert len(search(run, picture, 3)) == 3
