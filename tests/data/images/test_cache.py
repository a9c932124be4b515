import json
import multiprocessing
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ibc_pyg.data.images import cache as cache_module
from ibc_pyg.data.images.cache import open_cache
from ibc_pyg.data.images.cache_index import PIXELS, CacheIndex, save_index
from ibc_pyg.data.images.decode import decode_image
from ibc_pyg.data.table import ImageTable, Role
from ibc_pyg.data.transforms.pixels import resize_shorter
from ibc_pyg.errors import DatasetError

SIZES = [(60, 80), (30, 20), (45, 45), (90, 33), (70, 140), (50, 40)]


@pytest.fixture
def table(tmp_path):
    root = tmp_path / "Bilder 花"
    root.mkdir()
    rng = np.random.default_rng(0)
    paths = []
    for number, (height, width) in enumerate(SIZES):
        paths.append(f"{number}.{'jpg' if number % 2 else 'png'}")
        pixels = rng.integers(0, 256, (height, width, 3), np.uint8)
        Image.fromarray(pixels).save(root / paths[-1])
    count = len(paths)
    return ImageTable(
        "toys",
        tuple(paths),
        np.arange(count) // 2,
        np.full(count, Role.TRAIN.value, np.uint8),
        ("a", "b", "c"),
        root=root,
    )


def expected(table, row, resize):
    picture = decode_image(table.root / table.paths[row])
    if min(picture.shape[1:]) > resize:
        return resize_shorter(picture[None], resize)[0]
    return picture


def agrees(cache, table, resize):
    return all(
        torch.equal(cache.read(row), expected(table, row, resize)) for row in range(len(table))
    )


def place_of(folder):
    (place,) = (path for path in folder.iterdir() if path.is_dir())
    return place


@pytest.fixture
def builds(monkeypatch):
    """Counts how often a cache is made."""
    calls = []
    build = cache_module._build

    def counted(*args):
        calls.append(args)
        return build(*args)

    monkeypatch.setattr(cache_module, "_build", counted)
    return calls


def test_holds_the_resized_pictures(table, tmp_path, builds):
    cache = open_cache(table, 40, tmp_path / "cache")
    assert agrees(cache, table, 40)
    shorter = [min(cache.read(row).shape[1:]) for row in range(len(table))]
    assert shorter == [40, 20, 40, 33, 40, 40]  # never scaled up
    again = open_cache(table, 40, tmp_path / "cache")
    assert agrees(again, table, 40)
    assert len(builds) == 1


def test_progress_reaches_the_total(table, tmp_path, monkeypatch):
    monkeypatch.setattr(cache_module, "_CHUNK", 4)
    seen = []
    open_cache(table, 40, tmp_path / "cache", progress=lambda *at: seen.append(at))
    assert seen == [(4, 6), (6, 6)]


def test_another_size_or_changed_files_make_another_cache(table, tmp_path, builds):
    folder = tmp_path / "cache"
    open_cache(table, 40, folder)
    assert agrees(open_cache(table, 30, folder), table, 30)
    assert len(builds) == 2
    Image.new("RGB", (64, 64), (1, 2, 3)).save(table.root / "0.png")
    assert agrees(open_cache(table, 40, folder), table, 40)
    assert len(builds) == 3


def test_a_moved_data_set_keeps_its_cache(table, tmp_path, builds):
    from dataclasses import replace

    open_cache(table, 40, tmp_path / "cache")
    moved = replace(table, root=table.root.rename(tmp_path / "moved"))
    assert agrees(open_cache(moved, 40, tmp_path / "cache"), moved, 40)
    assert len(builds) == 1


def test_a_part_of_the_table_reads_from_the_same_cache(table, tmp_path):
    cache = open_cache(table, 40, tmp_path / "cache")
    part = table.take(np.array([4, 1]))
    source = cache.source(part)
    assert torch.equal(source.read(0), cache.read(4))
    assert torch.equal(source.read(1), cache.read(1))


def test_a_table_with_other_images_is_refused(table, tmp_path):
    from dataclasses import replace

    cache = open_cache(table.take(np.array([0, 1])), 40, tmp_path / "cache")
    with pytest.raises(DatasetError, match=r"2\.png: not in the image cache"):
        cache.source(table)
    with pytest.raises(DatasetError, match="not in the image cache"):
        cache.source(replace(table, paths=tuple(f"x{p}" for p in table.paths)))


@pytest.mark.parametrize("file", ["pixels.bin", "index.npz", "meta.json"])
@pytest.mark.parametrize("damage", ["cut", "gone", "empty"])
def test_damage_is_found_and_mended_when_opened(table, tmp_path, builds, caplog, file, damage):
    folder = tmp_path / "cache"
    open_cache(table, 40, folder)
    path = place_of(folder) / file
    data = path.read_bytes()
    path.unlink()
    if damage != "gone":
        path.write_bytes(data[: len(data) // 2] if damage == "cut" else b"")
    assert agrees(open_cache(table, 40, folder), table, 40)
    assert len(builds) == 2
    assert "rebuilding the image cache" in caplog.text


def test_a_changed_index_is_found(table, tmp_path, builds):
    folder = tmp_path / "cache"
    open_cache(table, 40, folder)
    path = place_of(folder) / "index.npz"
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 1
    path.write_bytes(data)
    assert agrees(open_cache(table, 40, folder), table, 40)
    assert len(builds) == 2


def test_a_changed_pixel_is_never_read(table, tmp_path, builds, caplog):
    folder = tmp_path / "cache"
    open_cache(table, 40, folder)
    path = place_of(folder) / PIXELS
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert agrees(open_cache(table, 40, folder), table, 40)
    assert len(builds) == 1
    assert "is damaged; its file is read instead" in caplog.text
    assert agrees(open_cache(table, 40, folder), table, 40)
    assert len(builds) == 2


def test_a_build_that_was_interrupted_leaves_nothing(table, tmp_path, builds):
    folder = tmp_path / "cache"

    def interrupt(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        open_cache(table, 40, folder, progress=interrupt)
    assert [path for path in folder.iterdir() if path.is_dir()] == []
    (folder / "toys-40-0123456789abcdef.building").mkdir()  # as after kill -9
    assert agrees(open_cache(table, 40, folder), table, 40)


def _open(arguments):
    table, folder, gate = arguments
    gate.wait()
    cache = open_cache(table, 40, folder)
    return [int(cache.read(row).sum()) for row in range(len(table))]


def _process(table, folder, gate, results):
    built = []
    build = cache_module._build
    cache_module._build = lambda *args: (built.append(1), build(*args))[1]
    results.put((len(built), _open((table, folder, gate)), len(built)))


def test_processes_that_start_at_once_make_one_cache(table, tmp_path):
    context = multiprocessing.get_context("fork")
    gate, results = context.Barrier(4), context.Queue()
    processes = [
        context.Process(target=_process, args=(table, tmp_path / "cache", gate, results))
        for _ in range(4)
    ]
    for process in processes:
        process.start()
    answers = [results.get(timeout=60) for _ in processes]
    for process in processes:
        process.join()
    assert sum(built for _, _, built in answers) == 1
    assert len({tuple(sums) for _, sums, _ in answers}) == 1
    assert agrees(open_cache(table, 40, tmp_path / "cache"), table, 40)


def test_broken_images_stop_and_are_named(table, tmp_path):
    (table.root / "1.jpg").write_bytes(b"")
    (table.root / "3.jpg").write_bytes((table.root / "3.jpg").read_bytes()[:200])
    with pytest.raises(DatasetError, match=r"2 of 6 images cannot be read: .*1\.jpg.*3\.jpg"):
        open_cache(table, 40, tmp_path / "cache")
    # And again, now that the cache is there.
    with pytest.raises(DatasetError, match="2 of 6 images"):
        open_cache(table, 40, tmp_path / "cache")


def test_broken_images_can_be_left_to_the_loader(table, tmp_path, builds):
    (table.root / "1.jpg").write_bytes(b"")
    cache = open_cache(table, 40, tmp_path / "cache", on_error="skip")
    assert torch.equal(cache.read(2), expected(table, 2, 40))
    with pytest.raises(DatasetError, match=r"1\.jpg: the file is empty"):
        cache.read(1)
    reopened = open_cache(table, 40, tmp_path / "cache", on_error="skip")
    assert reopened.index.broken == cache.index.broken
    assert len(builds) == 1
    # A mended file changes the key: it is no longer left out.
    Image.new("RGB", (50, 50)).save(table.root / "1.jpg")
    assert not open_cache(table, 40, tmp_path / "cache").index.broken


def test_all_broken(table, tmp_path):
    for path in table.paths:
        (table.root / path).write_bytes(b"")
    cache = open_cache(table, 40, tmp_path / "cache", on_error="skip")
    assert len(cache.index.broken) == 6


def test_a_folder_that_cannot_be_written_is_named(table, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DatasetError, match=r"image cache cannot be written.*--data\.cache false"):
        open_cache(table, 40, tmp_path / "file" / "cache")


def test_a_full_disk_is_named_and_leaves_nothing(table, tmp_path, monkeypatch):
    def full(self, *args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(DatasetError, match="No space left on device"):
        open_cache(table, 40, tmp_path / "cache")
    assert [path for path in (tmp_path / "cache").iterdir() if path.is_dir()] == []


def test_a_pickled_cache_maps_the_file_instead_of_copying_it(table, tmp_path):
    cache = open_cache(table, 40, tmp_path / "cache")
    data = pickle.dumps(cache)
    assert len(data) < cache.index.num_bytes
    assert agrees(pickle.loads(data), table, 40)


def test_writing_to_a_picture_never_reaches_the_file(table, tmp_path):
    cache = open_cache(table, 40, tmp_path / "cache")
    cache.read(0).zero_()
    assert agrees(open_cache(table, 40, tmp_path / "cache"), table, 40)


def forge(place, **changes):
    """Change arrays of an index, with the checksum that belongs to them."""
    with np.load(place / "index.npz") as file:
        arrays = {name: file[name] for name in file}
    index = CacheIndex(**{name: array.copy() for name, array in arrays.items()} | changes)
    save_index(place, index, json.loads((place / "meta.json").read_text())["key"])


FORGED = {
    "outside": {"offsets": np.full(6, 2**40)},
    "negative": {"offsets": np.full(6, -5)},
    "overflow": {"sizes": np.full((6, 2), 2**31 - 1, np.int32)},
    "negative size": {"sizes": np.full((6, 2), -1, np.int32)},
    "floats": {"offsets": np.zeros(6)},
    "another shape": {"checksums": np.zeros((6, 1), np.uint32)},
    "too few": {
        "offsets": np.zeros(2, np.int64),
        "sizes": np.ones((2, 2), np.int32),
        "checksums": np.zeros(2, np.uint32),
    },
    "without a reason": {"sizes": np.zeros((6, 2), np.int32)},
}


@pytest.mark.parametrize("name", FORGED)
def test_an_index_that_cannot_be_is_rebuilt(table, tmp_path, caplog, name):
    place = open_cache(table, 32, tmp_path / "cache").place
    forge(place, **FORGED[name])
    cache = open_cache(table, 32, tmp_path / "cache")
    assert "rebuilding the image cache" in caplog.text
    for row in range(len(table)):
        assert torch.equal(cache.read(row), expected(table, row, 32))


@pytest.mark.parametrize("name", ["index.npz", "meta.json", PIXELS])
def test_a_pipe_in_the_cache_is_not_waited_for(table, tmp_path, name):
    place = open_cache(table, 32, tmp_path / "cache").place
    (place / name).unlink()
    os.mkfifo(place / name)
    assert torch.equal(open_cache(table, 32, tmp_path / "cache").read(0), expected(table, 0, 32))


@pytest.mark.parametrize("which", ["folder", "cache"])
def test_a_cache_that_others_can_write_is_not_used(table, tmp_path, which):
    place = open_cache(table, 32, tmp_path / "cache").place
    (place if which == "cache" else place.parent).chmod(0o777)
    with pytest.raises(DatasetError, match=r"other users can write into it: chmod go-w .*cache"):
        open_cache(table, 32, tmp_path / "cache")
