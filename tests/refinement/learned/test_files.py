from __future__ import annotations

import json

import pytest
import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from ibc_pyg.errors import RunError
from ibc_pyg.refinement.learned.config import RefinerConfig
from ibc_pyg.refinement.learned.files import REFINER, load_refiner, save_refiner
from ibc_pyg.refinement.learned.refiner import Refiner


def saved(folder):
    refiner = Refiner(8, RefinerConfig(k=5, rounds=1, hidden=4), share=0.3)
    save_refiner(folder, refiner, weights="a" * 64, record={"seed": 1})
    return refiner


def changed(folder, tensors=None, **metadata):
    file = folder / REFINER
    with safe_open(file, framework="pt") as opened:
        old = opened.metadata()
    values = load_file(file)
    save_file(values | (tensors or {}), file, metadata=old | metadata)


def test_a_refiner_is_read_back(tmp_path):
    refiner = saved(tmp_path)
    again = load_refiner(tmp_path, weights="a" * 64)
    x = F.normalize(torch.randn(20, 8, generator=torch.Generator().manual_seed(0)), dim=1)
    assert torch.equal(refiner.gallery(x).vectors, again.gallery(x).vectors)
    assert again.config == refiner.config


def test_a_missing_refiner_names_the_command(tmp_path):
    with pytest.raises(RunError, match=r"train a refiner: python run\.py refine"):
        load_refiner(tmp_path)


def test_other_weights_are_refused(tmp_path):
    saved(tmp_path)
    with pytest.raises(RunError, match="trained for other weights"):
        load_refiner(tmp_path, weights="b" * 64)


def test_a_truncated_file_is_refused(tmp_path):
    saved(tmp_path)
    content = (tmp_path / REFINER).read_bytes()
    (tmp_path / REFINER).write_bytes(content[: len(content) // 2])
    with pytest.raises(RunError, match="cannot be read"):
        load_refiner(tmp_path)


def test_weights_of_a_model_are_refused(tmp_path):
    save_file({"a": torch.zeros(2)}, tmp_path / REFINER)
    with pytest.raises(RunError, match="is not a refiner"):
        load_refiner(tmp_path)


@pytest.mark.parametrize(
    "metadata",
    [
        {"channels": "-1"},
        {"channels": "many"},
        {"share": "nan"},
        {"share": "2"},
        {"config": "[]"},
        {"config": "{"},
        {"config": json.dumps({"k": 5})},
    ],
)
def test_damaged_settings_are_refused(tmp_path, metadata):
    saved(tmp_path)
    changed(tmp_path, **metadata)
    with pytest.raises(RunError, match="is damaged"):
        load_refiner(tmp_path)


def test_damaged_weights_are_refused(tmp_path):
    saved(tmp_path)
    changed(tmp_path, {"rounds.0.power": torch.tensor(torch.nan)})
    with pytest.raises(RunError, match=r"rounds\.0\.power"):
        load_refiner(tmp_path)


def test_a_layer_of_code_is_not_imported(tmp_path):
    refiner = saved(tmp_path)
    config = json.dumps(vars(refiner.config) | {"conv": f"{tmp_path}/evil.py:Evil"})
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    changed(tmp_path, config=config)
    with pytest.raises(RunError, match=r"refiner\.conv must be"):
        load_refiner(tmp_path)
    assert not (tmp_path / "ran").exists()
