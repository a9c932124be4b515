import itertools
import logging
import weakref

import numpy as np
import pytest
import torch
from PIL import Image

from ibc_pyg.data.images.cache import open_cache
from ibc_pyg.data.images.sources import FileSource
from ibc_pyg.data.loading import dataset as dataset_module
from ibc_pyg.data.loading.loader import Loading, eval_loader, suggested_workers, train_loader
from ibc_pyg.data.sampling import SamplerSettings, make_sampler, shard_rows
from ibc_pyg.data.table import ImageTable, Role
from ibc_pyg.data.transforms import transform_preset
from ibc_pyg.errors import DatasetError, RunError

CLASSES, PER_CLASS = 6, 5
COLOUR = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
COUNT = CLASSES * PER_CLASS


def make_table(**more):
    return ImageTable(
        "toys",
        more.pop("paths", tuple(f"{n}.png" for n in range(COUNT))),
        np.arange(COUNT) % CLASSES,
        np.full(COUNT, Role.TRAIN.value, np.uint8),
        tuple("abcdef"),
        **more,
    )


@pytest.fixture(scope="module")
def in_memory():
    images = np.random.default_rng(0).integers(0, 256, (COUNT, 28, 28, 1), np.uint8)
    return make_table(images=images)


@pytest.fixture
def on_disk(tmp_path):
    rng = np.random.default_rng(0)
    paths = tuple(f"{n}.{'jpg' if n % 2 else 'png'}" for n in range(COUNT))
    for number, path in enumerate(paths):
        size = (36 + number, 40, 3)
        Image.fromarray(rng.integers(0, 256, size, np.uint8)).save(tmp_path / path)
    return make_table(paths=paths, root=tmp_path)


def sampler_of(table, kind="distinct", **more):
    return make_sampler(kind, table.labels, SamplerSettings(3, 4, seed=1, **more))


def equal(first, second):
    return (
        len(first) == len(second)
        and all(
            torch.equal(a.images, b.images)
            and torch.equal(a.labels, b.labels)
            and torch.equal(a.rows, b.rows)
            for a, b in zip(first, second, strict=True)
        )
        and bool(first)
    )


PHOTO = transform_preset("imagenet_strong", image_size=24, resize=32)
GLYPHS = transform_preset("glyphs")


def test_batches_hold_what_the_sampler_drew(in_memory):
    plain = transform_preset("none")
    sampler = sampler_of(in_memory)
    loader = train_loader(in_memory, sampler, plain, seed=0)
    plan = sampler.plan(0)
    batches = list(loader)
    assert len(batches) == len(loader) == len(plan)
    for batch, rows in zip(batches, plan, strict=True):
        assert batch.rows.tolist() == rows.tolist()
        assert batch.labels.tolist() == in_memory.labels[rows].tolist()
        expected = torch.from_numpy(in_memory.images[rows]).permute(0, 3, 1, 2) / 127.5 - 1
        torch.testing.assert_close(batch.images, expected, atol=1e-6, rtol=0)
        assert (batch.images.dtype, batch.labels.dtype) == (torch.float32, torch.int64)


def test_read_only_arrays_are_taken_and_plans_are_not_shared(in_memory):
    images, rows = in_memory.images.copy(), np.arange(4)
    images.flags.writeable = rows.flags.writeable = False
    (batch,) = eval_loader(make_table(images=images), rows, GLYPHS, 4)
    batch.rows.zero_()
    assert rows.tolist() == [0, 1, 2, 3]
    sampler = sampler_of(in_memory)
    plan = sampler.plan(0).copy()
    for batch in train_loader(in_memory, sampler, GLYPHS, seed=0):
        batch.rows.zero_()
    assert np.array_equal(sampler.plan(0), plan)


def test_workers_change_nothing_in_memory(in_memory):
    passes = [
        list(train_loader(in_memory, sampler_of(in_memory), GLYPHS, Loading(workers), seed=3))
        for workers in (0, 1, 2)
    ]
    assert equal(passes[0], passes[1])
    assert equal(passes[0], passes[2])


@pytest.mark.parametrize("cached", [False, True])
def test_workers_change_nothing_from_files(on_disk, tmp_path, cached):
    cache = open_cache(on_disk, 32, tmp_path / "cache") if cached else None
    passes = [
        list(
            train_loader(on_disk, sampler_of(on_disk), PHOTO, Loading(workers, cache=cache), seed=3)
        )
        for workers in (0, 2)
    ]
    assert equal(*passes)


def test_epochs_and_seeds_change_the_augmentation(in_memory):
    sampler = sampler_of(in_memory)
    loader = train_loader(in_memory, sampler, GLYPHS, seed=3)
    first, second = list(loader), list(loader)
    assert sampler.epoch == 2
    sampler.set_epoch(0)
    assert equal(list(loader), first)
    assert not equal(first, second)
    other = list(train_loader(in_memory, sampler_of(in_memory), GLYPHS, seed=4))
    assert torch.equal(other[0].rows, first[0].rows)
    assert not torch.equal(other[0].images, first[0].images)


def test_an_image_that_comes_twice_is_changed_in_two_ways(in_memory):
    sampler = make_sampler("distinct", in_memory.labels, SamplerSettings(2, 12, seed=0))
    batch = next(iter(train_loader(in_memory, sampler, GLYPHS, seed=0)))
    first, second = torch.nonzero(batch.rows == batch.rows[0]).flatten()[:2]
    assert not torch.equal(batch.images[first], batch.images[second])


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("kind", ["walk", "distinct", "redrawn"])
def test_resumes_behind_the_last_batch_that_was_handed_out(in_memory, workers, kind):
    def loader_of(sampler):
        return train_loader(in_memory, sampler, GLYPHS, Loading(workers), seed=3)

    sampler = sampler_of(in_memory, kind)
    loader = loader_of(sampler)
    list(loader)
    batches = iter(loader)
    next(batches)
    state = sampler.state_dict()  # workers have read further ahead
    rest = list(batches)
    following = list(loader)
    resumed = sampler_of(in_memory, kind)
    resumed.load_state_dict(state)
    loader = loader_of(resumed)
    assert equal(list(loader), rest)
    assert equal(list(loader), following)


def test_a_pass_that_was_broken_off_goes_on_with_the_next_epoch(in_memory):
    sampler = sampler_of(in_memory)
    loader = train_loader(in_memory, sampler, GLYPHS, Loading(2), seed=3)
    for _ in itertools.islice(loader, 1):
        pass
    sampler.set_epoch(1)
    fresh = sampler_of(in_memory)
    fresh.set_epoch(1)
    assert equal(list(loader), list(train_loader(in_memory, fresh, GLYPHS, seed=3)))


def test_shares_of_processes_are_the_batch_of_one(on_disk):
    whole = list(train_loader(on_disk, sampler_of(on_disk), PHOTO, seed=3))
    shares = [
        list(train_loader(on_disk, sampler_of(on_disk, rank=rank, world_size=3), PHOTO, seed=3))
        for rank in range(3)
    ]
    for batch, *parts in zip(whole, *shares, strict=True):
        assert torch.equal(batch.images, torch.cat([part.images for part in parts]))
        assert torch.equal(batch.rows, torch.cat([part.rows for part in parts]))


@pytest.mark.parametrize("workers", [0, 1])
def test_global_generators_keep_their_state(on_disk, workers):
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()
    list(train_loader(on_disk, sampler_of(on_disk), PHOTO, Loading(workers), seed=3))
    list(eval_loader(on_disk, np.arange(7), PHOTO, 4, Loading(workers)))
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert np.array_equal(np.random.get_state()[1], numpy_state)


@pytest.mark.parametrize("workers", [0, 2])
def test_evaluation_reads_every_row_once_in_order(on_disk, workers):
    rows = np.array([5, 3, 29, 0, 7, 8, 11])
    loader = eval_loader(on_disk, rows, PHOTO, 3, Loading(workers))
    for _ in range(2):
        batches = list(loader)
        assert [len(batch) for batch in batches] == [3, 3, 1]
        assert torch.cat([batch.rows for batch in batches]).tolist() == rows.tolist()
        assert (torch.cat([b.labels for b in batches]).numpy() == on_disk.labels[rows]).all()
    assert len(loader) == 3


def test_evaluation_depends_neither_on_batches_nor_on_processes(on_disk):
    rows = np.arange(11)

    def images(part, size):
        return torch.cat([b.images for b in eval_loader(on_disk, part, PHOTO, size)])

    whole = images(rows, 11)
    assert torch.equal(whole, images(rows, 2))
    shares = [images(shard_rows(rows, rank, 3), 4) for rank in range(3)]
    assert torch.equal(whole, torch.cat(shares))


def test_evaluation_of_no_rows(on_disk):
    assert list(eval_loader(on_disk, np.arange(0), PHOTO, 3)) == []
    with pytest.raises(ValueError, match="batch_size must be >= 1, got 0"):
        eval_loader(on_disk, np.arange(3), PHOTO, 0)


def test_small_pictures_from_files(on_disk):
    batch = next(iter(train_loader(on_disk, sampler_of(on_disk), GLYPHS, seed=0)))
    assert batch.images.shape == (12, 1, 28, 28)


def damage(table, *rows):
    for row in rows:
        path = table.root / table.paths[row]
        path.write_bytes(path.read_bytes()[: 300 if row % 2 else 0])


@pytest.mark.parametrize("workers", [0, 2])
def test_a_broken_image_stops_and_is_named(on_disk, workers):
    damage(on_disk, 7)
    with pytest.raises(DatasetError, match=r"7\.jpg: truncated") as caught:
        list(train_loader(on_disk, sampler_of(on_disk), PHOTO, Loading(workers), seed=0))
    assert "Traceback" not in str(caught.value)
    with pytest.raises(DatasetError, match=r"7\.jpg: truncated"):
        list(eval_loader(on_disk, np.arange(9), PHOTO, 4, Loading(workers)))


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("cached", [False, True])
def test_skipping_takes_another_image_of_the_class(on_disk, tmp_path, caplog, workers, cached):
    damage(on_disk, 7, 12, 13)
    cache = open_cache(on_disk, 32, tmp_path / "c", on_error="skip") if cached else None
    sampler = sampler_of(on_disk)
    plan = np.array(sampler.plan(0))
    loader = train_loader(
        on_disk, sampler, PHOTO, Loading(workers, cache=cache, on_error="skip"), seed=0
    )
    with caplog.at_level(logging.WARNING):
        batches = list(loader)
    for batch, rows in zip(batches, plan, strict=True):
        assert batch.labels.tolist() == on_disk.labels[rows].tolist()
        assert not set(batch.rows.tolist()) & {7, 12, 13}
        good = ~np.isin(rows, [7, 12, 13])
        assert (batch.rows.numpy()[good] == rows[good]).all()
    assert set(loader.skipped) == {7, 12, 13}
    assert all(on_disk.paths[row] in reason for row, reason in loader.skipped.items())
    assert sum("skipped: " in record.message for record in caplog.records) == 3  # each once


def test_skipping_leaves_test_images_out_and_lists_them(on_disk):
    damage(on_disk, 4, 5, 6)
    loader = eval_loader(on_disk, np.arange(9), PHOTO, 3, Loading(on_error="skip"))
    batches = list(loader)
    assert [batch.rows.tolist() for batch in batches] == [[0, 1, 2], [3], [7, 8]]
    assert sorted(loader.skipped) == [4, 5, 6]


def test_a_batch_of_broken_test_images_is_empty(on_disk):
    damage(on_disk, 3, 4, 5)
    batches = list(eval_loader(on_disk, np.arange(9), PHOTO, 3, Loading(on_error="skip")))
    assert batches[1].images.shape == (0, 3, 24, 24)
    assert len(batches[1].skipped) == 3


def test_a_class_without_a_readable_image_stops_even_when_skipping(on_disk):
    damage(on_disk, *range(2, COUNT, CLASSES))
    with pytest.raises(DatasetError, match="no image of class 2 can be read"):
        list(train_loader(on_disk, sampler_of(on_disk), PHOTO, Loading(on_error="skip"), seed=0))


def test_a_worker_that_was_killed_is_told_in_one_line(on_disk):
    # A real kill makes torch's SIGCHLD handler raise wherever the test happens to be.
    def killed():
        raise RuntimeError("DataLoader worker (pid 7) is killed by signal: Bus error. ")
        yield

    loader = eval_loader(on_disk, np.arange(COUNT), PHOTO, 1)
    loader._loader = killed()
    with pytest.raises(RunError, match=r"shared memory.*lower data\.workers"):
        list(loader)


def test_large_jpegs_can_be_decoded_smaller(tmp_path):
    pixels = np.linspace(0, 255, 400 * 300 * 3).reshape(400, 300, 3).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "large.jpg", quality=95)
    table = make_table(paths=("large.jpg",) * COUNT, root=tmp_path)
    plain = transform_preset("mobilenet_tf", image_size=24, resize=32)
    first, second = (
        next(iter(eval_loader(table, np.arange(1), plain, 1, Loading(shrink=shrink)))).images
        for shrink in (False, True)
    )
    assert not torch.equal(first, second)
    assert (first - second).abs().mean() < 0.02  # two grey levels of 255, in a range of 2


def test_workers_that_suit_the_machine(in_memory, on_disk, monkeypatch):
    monkeypatch.setattr("ibc_pyg.data.loading.loader.cpu_count", lambda: 2)
    assert suggested_workers(in_memory) == 0
    assert suggested_workers(on_disk) == 1
    assert suggested_workers(on_disk, cached=True) == 1
    monkeypatch.setattr("ibc_pyg.data.loading.loader.cpu_count", lambda: 64)
    assert suggested_workers(on_disk) == 8
    assert suggested_workers(on_disk, cached=True) == 4
    assert suggested_workers(on_disk, processes=16) == 3


def test_to_moves_images_and_labels(in_memory):
    batch = next(iter(eval_loader(in_memory, np.arange(3), GLYPHS, 3)))
    moved = batch.to("meta")
    assert moved.images.device.type == moved.labels.device.type == "meta"
    assert moved.rows.device.type == "cpu"


@pytest.mark.parametrize("kind", ["imagenet", "none"])
def test_a_batch_in_parts_has_the_same_pixels(on_disk, monkeypatch, kind):
    """A batch whose images exceed the bound at full size is transformed in parts."""
    transform = transform_preset(kind, image_size=24, **({} if kind == "imagenet" else COLOUR))

    def batches():
        train = train_loader(on_disk, sampler_of(on_disk), transform, seed=0)
        test = eval_loader(on_disk, np.arange(COUNT), transform, 16)
        return [batch for loader in (train, test) for batch in loader]

    whole = batches()
    monkeypatch.setattr(dataset_module, "MAX_HELD", 2 * 40 * 40 * 3)
    for before, now in zip(whole, batches(), strict=True):
        assert torch.equal(before.images, now.images)
        assert torch.equal(before.rows, now.rows)
        assert torch.equal(before.labels, now.labels)


def test_few_images_are_held_at_full_size(on_disk, monkeypatch):
    alive, most = weakref.WeakSet(), []
    read = FileSource.read

    def counted(source, row):
        image = read(source, row)
        alive.add(image)
        most.append(len(alive))
        return image

    monkeypatch.setattr(FileSource, "read", counted)
    monkeypatch.setattr(dataset_module, "MAX_HELD", 3 * 40 * 36 * 3)
    transform = transform_preset("none", image_size=24, **COLOUR)
    assert len(next(iter(eval_loader(on_disk, np.arange(COUNT), transform, COUNT))).rows) == COUNT
    assert max(most) <= 5


def test_a_strip_is_skipped(on_disk):
    Image.new("RGB", (60_000, 1)).save(on_disk.root / "0.png")
    loader = eval_loader(
        on_disk, np.arange(4), transform_preset("imagenet"), 4, Loading(on_error="skip")
    )
    (batch,) = loader
    assert batch.rows.tolist() == [1, 2, 3]
    assert "one side more than 64 times the other" in loader.skipped[0]
