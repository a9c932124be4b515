"""Weight files: read without unpickling, or refused with a one-line error."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import Tensor

from ibc_pyg.errors import RunError
from ibc_pyg.export.official import (
    encoder_from_state_dict,
    load_state_dict_file,
    mpn_from_state_dict,
)


def some_weights() -> dict[str, Tensor]:
    torch.manual_seed(0)
    return {"dim_red.weight": torch.randn(4, 4), "dim_red.bias": torch.randn(4)}


@pytest.mark.parametrize("nothing", [{}, [], None, torch.zeros(3)])
def test_other_objects_than_state_dicts_are_refused(nothing: object) -> None:
    for build in (lambda d: mpn_from_state_dict(d, 1), encoder_from_state_dict):
        with pytest.raises(RunError, match="state dict"):
            build(nothing)


class Malicious:
    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return exec, ("raise SystemExit('the file was run')",)


def test_supported_files(tmp_path: Path) -> None:
    state_dict = some_weights()
    torch.save({f"module.{k}": v for k, v in state_dict.items()}, tmp_path / "plain.pth")
    torch.save({"state_dict": state_dict, "epoch": 3}, tmp_path / "nested.pth")
    torch.save(state_dict, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    safetensors.torch.save_file(state_dict, tmp_path / "safe.safetensors")
    for name in ("plain.pth", "nested.pth", "old.pth", "safe.safetensors"):
        loaded = load_state_dict_file(tmp_path / name)
        assert set(loaded) == set(state_dict)
        assert all(torch.equal(loaded[key], state_dict[key]) for key in loaded)


def test_invalid_file_is_a_one_line_error(tmp_path: Path) -> None:
    torch.save({"w": torch.zeros(1), "trick": Malicious()}, tmp_path / "trick.pth")
    (tmp_path / "raw.pth").write_bytes(pickle.dumps(Malicious()))
    torch.save(torch.nn.Linear(2, 2), tmp_path / "module.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    torch.save({"w": 3}, tmp_path / "numbers.pth")
    torch.save(some_weights(), tmp_path / "cut.pth")
    (tmp_path / "cut.pth").write_bytes((tmp_path / "cut.pth").read_bytes()[:500])
    (tmp_path / "text.pth").write_text("not weights")
    (tmp_path / "empty.pth").write_bytes(b"")
    (tmp_path / "text.safetensors").write_text("not weights")
    (tmp_path / "folder.pth").mkdir()
    for path in [*sorted(tmp_path.iterdir()), tmp_path / "missing.pth"]:
        with pytest.raises(RunError) as caught:
            load_state_dict_file(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)
        assert caught.value.__cause__ is None
