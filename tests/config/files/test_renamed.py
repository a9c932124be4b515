"""Old paths of experiment files: found under the new names, and told in one line."""

import logging
from pathlib import Path

import pytest

from ibc_pyg.cli import run
from ibc_pyg.config.files.overlays import parse_overlays
from ibc_pyg.config.files.renamed import current_path, expand_renamed

ROOT = Path(__file__).resolve().parents[3]
RENAMED = {
    "graph_plus/ce_graph.yaml": "with_graph/ce_graph.yaml",
    "graph_plus/auxiliary/graph_alone.yaml": "with_graph/ce_on_embeddings/graph_alone.yaml",
    "baselines/proxy_anchor_even.yaml": "baselines/proxy_anchor_equal_lr.yaml",
    "graph_plus/soft_triple_even_graph.yaml": "with_graph/soft_triple_equal_lr_graph.yaml",
    "graph_plus/auxiliary/soft_triple_even_graph_ce.yaml": (
        "with_graph/ce_on_embeddings/soft_triple_equal_lr_graph_ce.yaml"
    ),
}


@pytest.fixture
def experiments(tmp_path):
    """Return a link to the experiments: a path that no other test has warned about."""
    folder = tmp_path / "experiments"
    folder.symlink_to(ROOT / "experiments")
    return folder


@pytest.mark.parametrize(("old", "new"), RENAMED.items(), ids=RENAMED)
def test_an_old_path_is_read_with_one_line_of_warning(old, new, experiments, caplog):
    base = experiments / "omniglot.yaml"
    with caplog.at_level(logging.WARNING):
        configs = [parse_overlays([base, experiments / name], []) for name in (old, new, old)]
    assert configs[0] == configs[1] == configs[2]
    assert [record.getMessage() for record in caplog.records] == [
        f"{experiments / old} is now {experiments / new}"
    ]


def test_a_file_that_exists_keeps_its_name(tmp_path, caplog):
    for name in ("graph_plus", "with_graph"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "mine.yaml").touch()
    own = tmp_path / "graph_plus" / "mine.yaml"
    assert current_path(own) == own
    unknown = tmp_path / "graph_plus" / "yours.yaml"
    assert current_path(unknown) == unknown
    assert not caplog.records


def test_a_pattern_that_the_shell_could_not_expand(experiments):
    given = [experiments / "baselines" / "ce.yaml", experiments / "graph_plus" / "*.yaml"]
    expected = sorted((experiments / "with_graph").glob("*.yaml"))
    assert expand_renamed(given) == [given[0], *expected]
    nothing = [experiments / "graph_minus" / "*.yaml"]
    assert expand_renamed(nothing) == nothing


def test_commands_take_old_paths(experiments, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = ["train", "experiments/omniglot.yaml", "experiments/graph_plus/ce_graph.yaml"]
    assert run([*words, "--dry-run", "--train.device", "cpu"]) == 0
    assert "is now experiments/with_graph/ce_graph.yaml" in capsys.readouterr().err
