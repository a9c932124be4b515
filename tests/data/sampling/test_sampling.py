import collections
import logging
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ibc_pyg.data.sampling import SamplerSettings, make_sampler, shard_batch, shard_rows
from ibc_pyg.errors import ConfigError, RunError

KINDS = ["walk", "distinct", "redrawn"]


def labels_of(sizes):
    """Labels of classes with these sizes, shuffled."""
    labels = np.repeat(np.arange(len(sizes)) * 3, sizes)
    return np.random.default_rng(0).permutation(labels)


def epoch(sampler):
    return [list(batch) for batch in sampler]


class_sizes = st.lists(st.integers(1, 12), min_size=3, max_size=9)


@settings(max_examples=80, deadline=None)
@given(sizes=class_sizes, P=st.integers(1, 5), K=st.integers(1, 5), seed=st.integers(0, 9))
@pytest.mark.parametrize("kind", ["walk", "distinct"])
def test_a_batch_is_p_chunks_of_k_images_and_every_image_is_seen(kind, sizes, P, K, seed):
    labels = labels_of(sizes)
    if len(sizes) < P or len(labels) < P * K:
        with pytest.raises(ConfigError):
            make_sampler(kind, labels, SamplerSettings(P, K, seed=seed))
        return
    sampler = make_sampler(kind, labels, SamplerSettings(P, K, seed=seed))
    length = len(sampler)
    batches = epoch(sampler)
    assert len(batches) == length
    assert set(np.concatenate(batches)) == set(range(len(labels)))
    for batch in batches:
        chunks = np.array(batch).reshape(P, K)
        of = labels[chunks]
        assert (of == of[:, :1]).all()
        for chunk, label in zip(chunks, of[:, 0], strict=True):
            # Repetition only where the class is too small, and then as even as can be.
            counts = collections.Counter(chunk.tolist()).values()
            size = int((labels == label).sum())
            assert len(counts) == min(K, size)
            assert max(counts) - min(counts) <= 1
        if kind == "distinct":
            assert len(set(of[:, 0])) == P


@settings(max_examples=60, deadline=None)
@given(sizes=class_sizes, P=st.integers(1, 4), K=st.integers(1, 4))
def test_an_epoch_is_as_short_as_seeing_every_image_allows(sizes, P, K):
    labels = labels_of(sizes)
    if len(sizes) < P or len(labels) < P * K:
        return
    chunks = [math.ceil(size / K) for size in sizes]
    assert len(make_sampler("walk", labels, SamplerSettings(P, K, seed=0))) == math.ceil(
        sum(chunks) / P
    )
    needed = max(max(chunks), math.ceil(sum(chunks) / P))
    assert len(make_sampler("distinct", labels, SamplerSettings(P, K, seed=0))) == needed


@settings(max_examples=60, deadline=None)
@given(sizes=class_sizes, P=st.integers(1, 4), K=st.integers(1, 4))
@pytest.mark.parametrize("kind", ["walk", "distinct"])
def test_drop_last_repeats_no_chunk(kind, sizes, P, K):
    labels = labels_of(sizes)
    if len(sizes) < P or len(labels) < P * K:
        return
    batches = epoch(make_sampler(kind, labels, SamplerSettings(P, K, seed=1, drop_last=True)))
    chunks = collections.Counter(
        tuple(sorted(chunk)) for batch in batches for chunk in np.array(batch).reshape(P, K)
    )
    per_class = collections.Counter(labels[chunk[0]] for chunk in chunks.elements())
    for label, count in per_class.items():
        assert count <= math.ceil((labels == label).sum() / K)
    if kind == "walk":
        total = sum(math.ceil(size / K) for size in sizes)
        assert len(batches) == total // P


def test_walk_lets_a_class_occur_twice_and_distinct_does_not():
    labels = labels_of([40, 40, 40])
    twice = [
        len(set(labels[batch])) < 3
        for batch in epoch(make_sampler("walk", labels, SamplerSettings(3, 4, seed=0)))
    ]
    assert any(twice)
    for batch in epoch(make_sampler("distinct", labels, SamplerSettings(3, 4, seed=0))):
        assert len(set(labels[batch])) == 3


def test_distinct_mixes_classes_evenly():
    # 20 equal classes, 5 a batch: any two should share a batch in 4/19 of a class's batches.
    labels = labels_of([12] * 20)
    sampler = make_sampler("distinct", labels, SamplerSettings(5, 4, seed=3))
    together = np.zeros((20, 20))
    for _ in range(400):
        for batch in sampler:
            classes = np.unique(labels[batch]) // 3
            together[np.ix_(classes, classes)] += 1
    share = (together / together.diagonal()[:, None])[~np.eye(20, dtype=bool)]
    # 1,200 batches a class: the standard error of a share is 0.012; five of them.
    assert np.abs(share - 4 / 19).max() < 0.06


def test_redrawn_runs_through_all_factorisations():
    labels = labels_of([60] * 100)
    sampler = make_sampler("redrawn", labels, SamplerSettings(6, 9, seed=0))
    seen = collections.Counter()
    for number in range(600):
        sampler.set_epoch(number)
        plan = sampler.plan(number)
        assert plan.shape == (len(sampler), 54)
        assert len(np.unique(plan)) == len(labels)
        # The run length of equal labels is a multiple of K; the smallest over a plan is K.
        flat = labels[plan.ravel()]
        ends = np.flatnonzero(np.diff(flat))
        seen[int(np.gcd.reduce(ends + 1))] += 1
    assert set(seen) == {27, 18, 9, 6, 3, 2}
    # 600 draws from six: mean 100, standard deviation 9.
    assert max(abs(count - 100) for count in seen.values()) < 46


@pytest.mark.parametrize(
    ("P", "K", "classes", "world", "shapes"),
    [
        (6, 9, 100, 1, [(2, 27), (3, 18), (6, 9), (9, 6), (18, 3), (27, 2)]),
        (6, 9, 9, 1, [(2, 27), (3, 18), (6, 9), (9, 6)]),
        (6, 9, 100, 3, [(3, 18), (6, 9), (9, 6), (18, 3), (27, 2)]),
        (1, 7, 9, 1, [(1, 7)]),
    ],
)
def test_redrawn_shapes_fit_classes_and_processes(P, K, classes, world, shapes):
    sampler = make_sampler(
        "redrawn", labels_of([60] * classes), SamplerSettings(P, K, seed=0, world_size=world)
    )
    assert sampler.factorisations() == shapes


@pytest.mark.parametrize("kind", KINDS)
def test_epochs_differ_and_seeds_repeat(kind):
    labels = labels_of([8] * 12)
    first, second = (make_sampler(kind, labels, SamplerSettings(4, 4, seed=5)) for _ in range(2))
    one, two = epoch(first), epoch(first)
    assert one != two
    assert [epoch(second), epoch(second)] == [one, two]
    second.set_epoch(0)
    assert epoch(second) == one
    assert epoch(make_sampler(kind, labels, SamplerSettings(4, 4, seed=6))) != one


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("stop", [0, 1, 5])
def test_resumes_in_the_middle_of_an_epoch(kind, stop):
    labels = labels_of([9, 8, 7, 11, 6, 14, 9, 9, 3, 5])
    whole = make_sampler(kind, labels, SamplerSettings(3, 4, seed=2))
    whole.set_epoch(3)
    batches = iter(whole)
    for _ in range(stop):
        next(batches)
    state = whole.state_dict()
    rest = list(batches)
    resumed = make_sampler(kind, labels, SamplerSettings(3, 4, seed=2))
    resumed.load_state_dict(state)
    resumed.set_epoch(3)  # what a training loop says at the start of each epoch
    assert epoch(resumed) == rest
    assert epoch(resumed) == epoch(whole)


def test_a_position_from_another_run_is_refused():
    labels = labels_of([9] * 9)
    state = make_sampler("walk", labels, SamplerSettings(3, 4, seed=2)).state_dict()
    for other in (
        make_sampler("walk", labels, SamplerSettings(3, 4, seed=3)),
        make_sampler("walk", labels, SamplerSettings(4, 3, seed=2)),
        make_sampler("distinct", labels, SamplerSettings(3, 4, seed=2)),
        make_sampler("walk", labels[::-1], SamplerSettings(3, 4, seed=2)),
    ):
        with pytest.raises(RunError, match="resume with the settings"):
            other.load_state_dict(state)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("world_size", [2, 3])
def test_shares_joined_in_rank_order_are_the_global_batch(kind, world_size):
    labels = labels_of([9, 8, 7, 11, 6, 14, 9, 9, 3, 5])
    whole = epoch(make_sampler(kind, labels, SamplerSettings(6, 4, seed=1)))
    shares = [
        epoch(
            make_sampler(
                kind, labels, SamplerSettings(6, 4, seed=1, rank=rank, world_size=world_size)
            )
        )
        for rank in range(world_size)
    ]
    if kind == "redrawn":  # shapes with fewer classes than processes are left out
        assert all(len(batch) == 24 // world_size for share in shares for batch in share)
    else:
        assert [[*np.concatenate(parts)] for parts in zip(*shares, strict=True)] == whole


def test_rows_for_evaluation_are_shared_without_padding():
    rows = np.arange(23) * 2
    parts = [shard_rows(rows, rank, 4) for rank in range(4)]
    assert [len(part) for part in parts] == [6, 6, 6, 5]
    assert np.concatenate(parts).tolist() == rows.tolist()


@pytest.mark.parametrize(
    ("size", "world", "sizes"), [(54, 4, [14, 14, 13, 13]), (8, 3, [3, 3, 2]), (6, 2, [3, 3])]
)
def test_shares_of_a_batch_differ_by_one_at_most(size, world, sizes):
    parts = [np.arange(size)[shard_batch(size, rank, world)] for rank in range(world)]
    assert [len(part) for part in parts] == sizes
    assert np.concatenate(parts).tolist() == list(range(size))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("P", "K", "more", "says"),
    [
        (11, 1, {}, r"data\.classes_per_batch: 11, but .* only 10 classes; set it to 10 or less"),
        (5, 9, {}, r"data\.images_per_class: .* 45 images is larger than the 40.*set it to 8"),
        (3, 4, {"world_size": 4}, r"data\.classes_per_batch: 4 processes.*at most 3"),
        (0, 3, {}, r"data\.classes_per_batch: must be >= 1, got 0"),
        (3, 0, {}, r"data\.images_per_class: must be >= 1, got 0"),
    ],
)
def test_a_batch_that_cannot_be_is_refused_with_advice(kind, P, K, more, says):
    with pytest.raises(ConfigError, match=says):
        make_sampler(kind, labels_of([4] * 10), SamplerSettings(P, K, seed=0, **more))


@pytest.mark.parametrize("kind", KINDS)
def test_no_images_at_all_are_refused(kind):
    with pytest.raises(ConfigError, match=r"data\.classes_per_batch"):
        make_sampler(kind, np.zeros(0, np.int64), SamplerSettings(2, 2, seed=0))


def test_an_unknown_kind_is_refused():
    with pytest.raises(ConfigError, match=r"data\.sampler: no sampler 'random'.*walk"):
        make_sampler("random", labels_of([4] * 10), SamplerSettings(2, 2, seed=0))


def test_a_rank_outside_the_world_is_refused():
    with pytest.raises(ValueError, match="rank must be in"):
        make_sampler(
            "walk", labels_of([4] * 10), SamplerSettings(2, 2, seed=0, rank=2, world_size=2)
        )


def test_small_classes_are_mentioned_once(caplog):
    with caplog.at_level(logging.WARNING):
        sampler = make_sampler("walk", labels_of([4, 2, 1, 5]), SamplerSettings(2, 4, seed=0))
        epoch(sampler), epoch(sampler)
    assert [record.message for record in caplog.records] == [
        "2 of 4 classes have fewer than 4 images: their images are repeated in a batch"
    ]


def test_a_class_that_makes_the_epoch_longer_is_mentioned_once(caplog):
    with caplog.at_level(logging.WARNING):
        sampler = make_sampler("distinct", labels_of([60, 4, 4, 4]), SamplerSettings(3, 4, seed=0))
        assert len(epoch(sampler)) == 15
    assert len(caplog.records) == 1
    assert "that many batches instead of 6" in caplog.text


def test_samplers_leave_global_generators_alone():
    import random

    import torch

    before = (torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate())
    for kind in KINDS:
        epoch(make_sampler(kind, labels_of([8] * 12), SamplerSettings(4, 4, seed=5)))
    assert torch.equal(before[0], torch.get_rng_state())
    assert np.array_equal(before[1], np.random.get_state()[1])
    assert before[2] == random.getstate()


def test_works_as_batch_sampler_of_a_plain_data_loader():
    import torch

    labels = labels_of([8] * 12)
    sampler = make_sampler("walk", labels, SamplerSettings(4, 4, seed=5))
    loader = torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(torch.from_numpy(labels)), batch_sampler=sampler
    )
    batches = [batch.tolist() for (batch,) in loader]
    assert len(batches) == len(loader)
    again = make_sampler("walk", labels, SamplerSettings(4, 4, seed=5))
    assert batches == [labels[batch].tolist() for batch in again]


def test_a_loop_that_counts_batches_moves_to_the_next_epoch():
    labels = labels_of([8] * 6)
    whole, counted = (make_sampler("walk", labels, SamplerSettings(3, 4, seed=2)) for _ in range(2))
    for _ in range(2):
        wanted = list(whole)
        batches = iter(counted)
        assert [next(batches) for _ in range(len(wanted))] == wanted
