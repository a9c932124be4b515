"""Mistakes in code of the user: one line with its name, what was expected and what came."""

import pytest

from ibc_pyg import cli
from ibc_pyg.config.files.yaml_file import config_to_yaml, parse_config
from tests.helpers.plugs import SMALL, naming

HEAD = """
import math
import numpy as np
import torch
from torch import nn
from torch.utils.data import Dataset
"""

BAD = {
    "not there": ("backbone", "x = 1", "there is no 'Own' in"),
    "syntax": ("backbone", "def", "SyntaxError"),
    "exits": ("backbone", "import sys; sys.exit(3)", "executing the file failed: SystemExit: 3"),
    "no callable": ("metric", "Own = 3", "expected a function (descriptors, labels)"),
    "table": ("data set", "Own = lambda: 3", "that returns an ImageTable"),
    "image": ("data set", "Own = lambda: [(torch.zeros(1, 8, 8), 0)]",
              "expected images as uint8 tensors [1 or 3, H, W]"),
    "sizes": ("data set", "Own = lambda: [(torch.zeros(1, n, 8).byte(), 0) for n in (8, 9)]",
              "expected images of one size"),
    "label": ("data set", "Own = lambda: [(torch.zeros(1, 8, 8).byte(), 'a')]",
              "expected integers as labels"),
    "reading": ("data set", "class Own(Dataset):\n def __len__(self): return 3\n"
                " def __getitem__(self, i): raise OSError('gone')", "OSError: gone"),
    "transform lacks": ("transform", "class Own:\n image_size = 8\n channels = 1\n"
                        " def train(self, image): return image / 1", "Own without test"),
    "transform shape": ("transform", "class Own:\n image_size = 8\n channels = 1\n"
                        " def train(self, image): return torch.zeros(3, 4, 4)\n test = train",
                        "expected float32 images [1, 8, 8], not Tensor [3, 4, 4]"),
    "transform nan": ("transform", "class Own:\n image_size = 8\n channels = 1\n"
                      " def train(self, image): return image * math.nan\n test = train",
                      "NaN or infinite pixels"),
    "plan": ("sampler", "def Own(labels, P, K, rng): return np.zeros((2, 3), int)",
             "expected integer rows [steps, 16], not ndarray [2, 3]"),
    "rows": ("sampler", "def Own(labels, P, K, rng): return np.full((2, P * K), 10**6)",
             "expected rows from 0 to"),
    "sampler raises": ("sampler", "def Own(labels, P, K, rng): return labels / 'a'", "TypeError"),
    "no module": ("backbone", "Own = lambda: 3", "that returns a torch.nn.Module"),
    "lazy": ("backbone", "Own = lambda: nn.Sequential(nn.Flatten(), nn.LazyLinear(16))", "lazy"),
    "width": ("backbone", "Own = lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 3))",
              "expected float embeddings [2, 16], not Tensor [2, 3]"),
    "backbone nan": ("backbone", "class Own(nn.Module):\n w = 1\n def forward(self, x):\n"
                     "  return torch.full((len(x), 16), math.nan)", "NaN or infinite ones"),
    "backbone raises": ("backbone", "class Own(nn.Module):\n def forward(self, x): return x.quux",
                        "AttributeError"),
    "no layer": ("graph layer", "Own = print", "expected a class derived from torch.nn.Module"),
    "layer nan": ("graph layer", "class Own(nn.Module):\n def forward(self, x, edge_index):\n"
                  "  return x * math.nan", "expected finite embeddings"),
    "layer raises": ("graph layer", "class Own(nn.Module):\n def forward(self, x, edge_index):\n"
                     "  return x.quux", "AttributeError"),
    "layer shape": ("graph layer", "class Own(nn.Module):\n def forward(self, x, edge_index):\n"
                    "  return x[:3]", "one embedding per node"),
    "graph kind": ("graph", "Own = lambda x: 3", "expected edge_index or a Data, not 3"),
    "graph shape": ("graph", "Own = lambda x: torch.zeros(3, 4).long()",
                    "expected edge_index int64 [2, E], not Tensor [3, 4]"),
    "graph range": ("graph", "Own = lambda x: torch.full((2, 4), len(x))",
                    "expected sources from 0 to 15, not 16 to 16"),
    "no loss": ("loss", "Own = print", "expected a class derived from torch.nn.Module"),
    "loss shape": ("loss", "class Own(nn.Module):\n def forward(self, x, y): return x",
                   "expected a scalar tensor, not Tensor [16, 16]"),
    "loss nan": ("loss", "class Own(nn.Module):\n def forward(self, x, y): return x.sum() * np.nan",
                 "expected a finite loss for random features, not nan"),
    "loss raises": ("loss", "class Own(nn.Module):\n def forward(self, x, y): raise KeyError('k')",
                    "KeyError"),
    "miner count": ("miner", "def Own(x, y): return y, y", "expected 3 or 4 tensors of indices"),
    "miner kind": ("miner", "def Own(x, y): return x[:, 0], y, y", "expected 3 or 4 tensors"),
    "miner range": ("miner", "def Own(x, y): return y, y, y + 99", "indices from 0 to 15"),
    "no optimiser": ("optimiser", "Own = lambda params: 3", "derived from torch.optim.Optimizer"),
    "optimiser argument": ("optimiser", "class Own: pass", "with an argument params"),
    "schedule": ("schedule", "Own = lambda epoch, epochs: None", "a factor >= 0, not None"),
    "schedule nan": ("schedule", "Own = lambda epoch, epochs: math.nan", "not nan"),
    "metric": ("metric", "Own = lambda x, y: x", "expected a finite number or a mapping"),
    "metric nan": ("metric", "Own = lambda x, y: math.nan", "not nan"),
    "metric raises": ("metric", "Own = lambda x, y: 1 / 0", "ZeroDivisionError"),
    "refiner": ("refiner", "Own = lambda x, size: x[:3]", "expected neighbours int64 [16, 6]"),
    "refiner range": ("refiner", "Own = lambda x, size: torch.full((len(x), size - 1), 99)",
                      "expected neighbours from 0 to 15"),
    "tracker": ("tracker", "class Own: pass", "expected a class with log(step, values), not Own"),
}  # fmt: skip


def run(kind, source, tmp_path, *words):
    file = tmp_path / "own.py"
    file.write_text(HEAD + source)
    experiment = tmp_path / "experiment.yaml"
    plain = parse_config(None, [*SMALL, "--model.backbone_args", "{}"])
    config = naming(plain, kind, f"{file}:Own")
    if kind == "transform":
        config.data.transform_args = {}
    experiment.write_text(config_to_yaml(config))
    out = str(tmp_path / "run")
    code = cli.run(["train", str(experiment), "--out", out, "--trust-code", *words])
    return code, file


@pytest.mark.parametrize("case", BAD)
def test_a_mistake_is_one_line(case, tmp_path, capsys):
    kind, source, words = BAD[case]
    code, file = run(kind, source, tmp_path)
    said = capsys.readouterr().err
    assert code == 2
    assert said.count("\n") == 1, said
    assert said.startswith("error: ")
    assert f"{file}:Own" in said
    assert words in said
    assert not (tmp_path / "run").exists()


FAILS_LATE = """
class Own(nn.Module):
    def __init__(self, in_channels, embedding_dim):
        super().__init__()
        self.lin = nn.Linear(64 * in_channels, embedding_dim)
    def forward(self, x):
        if self.training:
            raise KeyError("late")
        return self.lin(x.flatten(1))
"""


@pytest.mark.parametrize("where", [["--debug"], []])
def test_code_that_fails_in_training_is_named(where, tmp_path, capsys):
    code, file = run("backbone", FAILS_LATE, tmp_path, *where)
    said = capsys.readouterr().err
    assert code == 2
    last = [line for line in said.splitlines() if line.startswith("error: ")]
    assert len(last) == 1
    assert f"{file}, line 14: KeyError: 'late'" in last[0]
    assert ("Traceback" in said) == bool(where)


def test_debug_before_the_command_shows_the_traceback(tmp_path, capsys):
    assert cli.run(["--debug", "train", str(tmp_path / "gone.yaml")]) == 2
    said = capsys.readouterr().err
    assert "Traceback" in said
    assert said.splitlines()[-1].startswith("error: ")


def test_a_bug_of_the_package_is_still_a_traceback(tmp_path, monkeypatch):
    def fails(*_args, **_more):
        raise KeyError("ours")

    monkeypatch.setattr("ibc_pyg.training.run.setup", fails)
    with pytest.raises(KeyError):
        run("metric", "Own = lambda x, y: 1.0", tmp_path)
