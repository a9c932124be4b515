"""Checkpoints: exact round trips, and damage that is found."""

import hashlib
import json
import os

import pytest
import torch

from ibc_pyg.errors import RunError
from ibc_pyg.runs.checkpoint import (
    drop_after,
    list_checkpoints,
    load_checkpoint,
    load_newest,
    save_checkpoint,
)


def trained_parts():
    torch.manual_seed(0)
    model = torch.nn.Linear(4, 3)
    optimizer = torch.optim.RAdam(model.parameters(), lr=0.1)
    for _ in range(7):
        optimizer.zero_grad()
        model(torch.randn(5, 4)).square().sum().backward()
        optimizer.step()
    return model, optimizer


def test_optimiser_goes_on_as_if_it_had_not_stopped(tmp_path):
    model, optimizer = trained_parts()
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
    save_checkpoint(tmp_path, 7, state)
    other = torch.nn.Linear(4, 3)
    other_optimizer = torch.optim.RAdam(other.parameters(), lr=0.5)
    step, loaded = load_newest(tmp_path)
    other.load_state_dict(loaded["model"])
    other_optimizer.load_state_dict(loaded["optimizer"])
    x = torch.randn(5, 4)
    for net, opt in ((model, optimizer), (other, other_optimizer)):
        opt.zero_grad()
        net(x).square().sum().backward()
        opt.step()
    assert step == 7
    assert torch.equal(model.weight, other.weight)


@pytest.mark.parametrize(
    "state",
    [
        {"a": [1, 2.5, None, "x", True], "b": {"c": torch.arange(3)}},
        {3: {"exp_avg": torch.zeros(2, 2)}, "empty": {}, "list": []},
        {"scalar": torch.tensor(1.5), "bytes": torch.arange(9, dtype=torch.uint8)},
    ],
)
def test_any_tree_comes_back(tmp_path, state):
    path = save_checkpoint(tmp_path, 1, state)
    _, loaded = load_checkpoint(path)

    def same(a, b):
        if isinstance(a, torch.Tensor):
            return a.dtype == b.dtype and torch.equal(a, b)
        if isinstance(a, dict):
            return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
        if isinstance(a, list):
            return len(a) == len(b) and all(map(same, a, b))
        return a == b

    assert same(state, loaded)


def test_tensors_that_share_memory_can_be_saved(tmp_path):
    x = torch.arange(6.0)
    _, loaded = load_checkpoint(save_checkpoint(tmp_path, 1, {"x": x, "view": x[2:4]}))
    assert torch.equal(loaded["view"], torch.tensor([2.0, 3.0]))


def test_only_the_newest_stay(tmp_path):
    for step in (1, 20, 300):
        save_checkpoint(tmp_path, step, {"step": step}, keep=2)
    assert [load_checkpoint(path)[0] for path in list_checkpoints(tmp_path)] == [20, 300]


@pytest.mark.parametrize("name", ["tensors.safetensors", "state.json"])
@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_one_cut_short_is_found_and_the_one_before_it_used(tmp_path, name, share):
    save_checkpoint(tmp_path, 1, {"x": torch.zeros(100)})
    newest = save_checkpoint(tmp_path, 2, {"x": torch.ones(100)})
    file = newest / name
    os.truncate(file, int(file.stat().st_size * share))
    with pytest.raises(RunError, match="step-00000002"):
        load_checkpoint(newest)
    step, state = load_newest(tmp_path)
    assert step == 1
    assert torch.equal(state["x"], torch.zeros(100))


def test_one_flipped_bit_is_found(tmp_path):
    path = save_checkpoint(tmp_path, 1, {"x": torch.zeros(100)})
    blob = bytearray((path / "tensors.safetensors").read_bytes())
    blob[-3] ^= 1
    (path / "tensors.safetensors").write_bytes(blob)
    with pytest.raises(RunError, match="damaged"):
        load_checkpoint(path)


def test_one_changed_digit_is_found(tmp_path):
    path = save_checkpoint(tmp_path, 1, {"epoch": 3, "lr": 1e-3, "best": float("nan")})
    assert load_checkpoint(path)[1]["epoch"] == 3
    state = path / "state.json"
    state.write_text(state.read_text().replace('["epoch", 3]', '["epoch", 4]'))
    with pytest.raises(RunError, match=r"state\.json was changed"):
        load_checkpoint(path)


def test_none_at_all(tmp_path):
    with pytest.raises(RunError, match="no intact checkpoint"):
        load_newest(tmp_path / "checkpoints")


def test_a_folder_in_the_way_leaves_the_earlier_one(tmp_path):
    save_checkpoint(tmp_path, 1, {"x": torch.zeros(3)})
    (tmp_path / ".step-00000002.partial").write_text("a file where a folder should be")
    with pytest.raises(RunError, match="cannot be written"):
        save_checkpoint(tmp_path, 2, {"x": torch.ones(3)})
    assert load_newest(tmp_path)[0] == 1


def test_checkpoints_are_not_written_through_a_link(tmp_path):
    target, folder = tmp_path / "target", tmp_path / "checkpoints"
    target.mkdir()
    folder.symlink_to(target)
    with pytest.raises(RunError, match="checkpoints is a link"):
        save_checkpoint(folder, 1, {})
    assert list(target.iterdir()) == []


def test_a_link_in_place_of_a_checkpoint_is_removed_and_its_target_kept(tmp_path):
    target = tmp_path / "target"
    target.mkdir()
    (target / "file").write_text("kept")
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    for name in ("step-00000001", "step-00000009", ".step-00000002.partial"):
        (folder / name).symlink_to(target)
    drop_after(folder, 8)
    save_checkpoint(folder, 2, {}, keep=1)
    assert [each.name for each in folder.iterdir()] == ["step-00000002"]
    assert (target / "file").read_text() == "kept"


@pytest.mark.parametrize("name", ["/dev/zero", "../outside", "pipe"])
def test_a_file_outside_of_a_checkpoint_or_a_pipe_is_not_read(tmp_path, name):
    (tmp_path / "outside").write_text("secret")
    path = save_checkpoint(tmp_path, 1, {})
    os.mkfifo(path / "pipe")
    document = json.loads((path / "state.json").read_text())
    document["sha256"][name] = hashlib.sha256(b"secret").hexdigest()
    del document["sha256_of_this"]
    own = hashlib.sha256(json.dumps(document).encode()).hexdigest()
    (path / "state.json").write_text(json.dumps(document | {"sha256_of_this": own}))
    with pytest.raises(RunError, match=f"damaged: {name} is not a file"):
        load_checkpoint(path)


def test_a_pipe_in_place_of_the_state_is_not_waited_for(tmp_path):
    path = save_checkpoint(tmp_path, 1, {})
    (path / "state.json").unlink()
    os.mkfifo(path / "state.json")
    with pytest.raises(RunError, match=r"state\.json is not a file"):
        load_checkpoint(path)
