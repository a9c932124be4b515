"""JSON and YAML files of a run, and checkpoints."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from ibc_pyg.config.files.yaml_file import config_from_yaml
from ibc_pyg.data.splits import split
from ibc_pyg.data.table import ImageTable, Role
from ibc_pyg.files import read_json
from ibc_pyg.runs.checkpoint import _hash_of, load_checkpoint
from ibc_pyg.runs.resume import find_interrupted
from ibc_pyg.runs.run_folder import RunFolder
from ibc_pyg.runs.split_record import read_split, record_of, write_split
from tests.helpers.fuzz import fuzz_file

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"


@pytest.fixture
def run(tmp_path):
    shutil.copytree(FIXTURES / "finished_run", tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture
def checkpoint(tmp_path):
    source = next((FIXTURES / "interrupted_run" / "checkpoints").iterdir())
    shutil.copytree(source, tmp_path / source.name)
    return tmp_path / source.name


def test_summary(run):
    fuzz_file(
        lambda path: RunFolder(path.parent).read_summary(), run / "summary.json", examples=200
    )


def test_environment(run):
    fuzz_file(read_json, run / "environment.json", examples=100)


def test_metrics(run):
    fuzz_file(
        lambda path: RunFolder(path.parent).read_history(), run / "metrics.jsonl", examples=150
    )


def test_config(run):
    fuzz_file(config_from_yaml, run / "config.yaml", examples=60)


def test_split(run):
    table = ImageTable(
        "folder",
        tuple(f"{label}/{i}.png" for label in "abcd" for i in range(3)),
        np.repeat(np.arange(4), 3),
        np.repeat([Role.TRAIN.value, Role.TEST.value], 6).astype(np.uint8),
        tuple("abcd"),
        Path("images"),
    )
    record = record_of(table, split(table, val_classes=None, val_fold=0, seed=0))
    write_split(run / "split.json", record, data_root="images")
    fuzz_file(lambda path: read_split(path, data_root="images"), run / "split.json", examples=250)


def test_state(checkpoint):
    fuzz_file(lambda path: load_checkpoint(path.parent), checkpoint / "state.json", examples=60)


def test_state_with_its_hash(checkpoint):
    """A forger computes the hashes, too."""

    def read(path: Path) -> object:
        try:
            document = json.loads(path.read_bytes())
            document.pop("sha256_of_this", None)
            document["sha256_of_this"] = _hash_of(document)
            path.write_text(json.dumps(document))
        except (ValueError, AttributeError, RecursionError, TypeError):
            return None
        return load_checkpoint(path.parent)

    fuzz_file(read, checkpoint / "state.json", examples=60)


def test_tensors(checkpoint):
    fuzz_file(
        lambda path: load_checkpoint(path.parent), checkpoint / "tensors.safetensors", examples=30
    )


def test_resumed_config(tmp_path):
    shutil.copytree(FIXTURES / "interrupted_run", tmp_path / "run")
    fuzz_file(
        lambda path: find_interrupted(path.parent), tmp_path / "run" / "config.yaml", examples=20
    )
