"""The use of a given validation part."""

import pytest
import torch
from PIL import Image

from ibc_pyg.builders.data import build_data, recorded_data
from ibc_pyg.errors import ConfigError
from ibc_pyg.runs.split_record import read_split, record_of, write_split
from tests.helpers.folder_run import folder_config


@pytest.fixture
def root(tmp_path):
    for name in ("train/a", "train/b", "val/c", "val/d", "test/e", "test/f"):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for index in range(2):
            Image.new("RGB", (8, 8)).save(tmp_path / "pictures" / name / f"{index}.png")
    return tmp_path / "pictures"


def names(data, rows):
    return {data.table.class_names[label] for label in data.table.labels[rows]}


def test_the_part_selects_and_is_recorded(root, tmp_path, caplog):
    config = folder_config(root, "--select", "val", "--train.evaluate_every", "1")
    data = build_data(config)
    assert names(data, data.splits.train) == {"a", "b"}
    assert names(data, data.splits.val.queries) == {"c", "d"}
    assert names(data, data.splits.test.queries) == {"e", "f"}
    write_split(tmp_path / "split.json", record_of(data.table, data.splits), data_root=str(root))
    kept = recorded_data(config, read_split(tmp_path / "split.json", data_root=str(root)))
    assert (kept.splits.val.queries == data.splits.val.queries).all()
    assert (kept.splits.train == data.splits.train).all()
    assert not caplog.text


def test_another_selection_does_not_use_it_and_says_so(root, caplog):
    data = build_data(folder_config(root))
    assert data.splits.val is None
    assert names(data, data.splits.train) == {"a", "b"}
    assert "the 4 validation images are not used: select is last" in caplog.text


def test_processes_of_a_machine_share_its_cores(root, monkeypatch):
    monkeypatch.setattr("ibc_pyg.data.loading.loader.cpu_count", lambda: 64)
    assert build_data(folder_config(root, "--data.workers", "null")).workers == 8
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "16")
    assert build_data(folder_config(root, "--data.workers", "null")).workers == 3


@pytest.mark.parametrize("last", [True, False])
def test_batches_are_in_the_memory_format_that_is_set(root, last):
    from ibc_pyg.data.loading.loader import eval_loader

    data = build_data(folder_config(root, "--train.channels_last", str(last).lower()))
    loading = data.loading(torch.device("cpu"))
    (batch,) = eval_loader(data.table, data.splits.train, data.transform, 4, loading)
    layout = torch.channels_last if last else torch.contiguous_format
    assert batch.images.is_contiguous(memory_format=layout)


@pytest.mark.parametrize(
    ("fields", "advice"),
    [
        (["--data.cache", "true"], "set data.cache to false"),
        (["--data.on_error", "skip"], "set data.on_error to stop"),
    ],
)
def test_decoding_on_the_device_is_refused_where_it_cannot_be_done(root, fields, advice):
    later = ["--data.transform_args", "{decode_on_device: true, image_size: 8, resize: 8}"]
    assert build_data(folder_config(root, *later)).transform.decodes_on_device
    with pytest.raises(ConfigError, match=f"decode_on_device: .*{advice}"):
        build_data(folder_config(root, *later, *fields))
