"""Experiment and sweep files, and options, with whatever in them."""

import shutil
from pathlib import Path

import pytest
from hypothesis import strategies as st

from ibc_pyg.compare.grid import make_grid
from ibc_pyg.config.files.yaml_file import parse_config
from ibc_pyg.errors import ConfigError
from ibc_pyg.sweep.sweep_file import read_sweep
from tests.helpers.fuzz import SPECIAL, check_message, fuzz, fuzz_file

ROOT = Path(__file__).resolve().parents[2]
WORDS = st.sampled_from(
    [piece.decode(errors="replace") for piece in SPECIAL if len(piece) < 300]
) | st.text(max_size=12)
SCALARS = WORDS | st.integers() | st.floats() | st.booleans() | st.none()
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=6,
)
FIELDS = (
    "--model.graph_args", "--model.heads", "--train.lr", "--train.lr_milestones", "--loss.terms",
    "--loss.terms+", "--data.workers", "--select", "--retrain", "--model.conv_args.k", "--config",
)  # fmt: skip
EXPERIMENT = """\
data: {name: glyphs, options: {seed: 3}, val_classes: 0.2}
model:
  heads: 2
  steps: 1
  graph_args: &shared {k: 3}
  conv_args: *shared
loss:
  temperature: 0.5
  terms:
  - {name: ContrastiveLoss, weight: 1.0e-1, args: {pos_margin: 0}}
train:
  lr: 1.0e-3
  lr_milestones: [3, 5.5]
select: last
"""
SWEEP = """\
method: random
metric: {name: val/R@1, goal: maximize}
run_cap: 5
parameters:
  train.lr: {distribution: log_uniform_values, min: 1.0e-4, max: 1.0e-2}
  model.heads: {values: [1, 2, 4], probabilities: [0.5, 0.25, 0.25]}
  loss.temperature: {distribution: q_normal, mu: 1, sigma: 0.1, q: 0.05}
  model.steps: {min: 1, max: 3}
command: [python, run.py, train, e.yaml, --train.epochs=2, "${args}"]
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty working folder; what a reader writes into it is seen."""
    place = tmp_path / "set"
    place.mkdir()
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    yield place
    assert not list((tmp_path / "cwd").iterdir())


def test_experiment(folder):
    file = folder / "experiment.yaml"
    file.write_text(EXPERIMENT)
    fuzz_file(lambda path: parse_config(path, []), file, examples=150)


def test_published_experiment(folder):
    file = folder / "experiment.yaml"
    shutil.copy(ROOT / "experiments" / "glyphs.yaml", file)
    fuzz_file(lambda path: parse_config(path, []), file, examples=60)


def test_sweep(folder):
    file = folder / "sweep.yaml"
    file.write_text(SWEEP)

    def read(path: Path) -> object:
        sweep = read_sweep(path)
        return sweep.trials(sweep.run_cap or 3, 0)

    fuzz_file(read, file, examples=300)


def test_options(folder):
    def check(pairs: list[tuple[str, str]]) -> None:
        words = [word.replace("\0", "") for pair in pairs for word in pair]
        problem = None
        try:
            parse_config(None, words)
        except ConfigError as error:
            problem = str(error)
        check_message(problem)

    pair = st.tuples(st.sampled_from(FIELDS), WORDS | VALUES.map(str))
    fuzz(check, st.lists(pair, min_size=1, max_size=3), examples=150)


def test_grid():
    def check(words: list[str]) -> None:
        problem = None
        try:
            make_grid(words)
        except ConfigError as error:
            problem = str(error)
        check_message(problem)

    values = st.lists(WORDS, max_size=8).map(",".join)
    words = st.tuples(st.sampled_from(["a.b", "c.d", "e.f"]) | WORDS, values).map("=".join)
    twice = ["\n=1,2", "\n=3,4"]
    fuzz(check, st.lists(words, max_size=6), examples=100, known=(twice,))
