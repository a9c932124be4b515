"""Batches of a stream: full ones, whatever is skipped between, and the numbers of `embed`."""

import itertools

import numpy as np
import pytest

import ibc_pyg
from tests.helpers.index_pictures import FINISHED_RUN


@pytest.fixture(scope="module")
def model():
    return ibc_pyg.load(FINISHED_RUN)


def pictures(number):
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (9, 9), dtype=np.uint8) for _ in range(number)]


def test_forward_passes_are_full_whatever_is_skipped(model):
    good = pictures(11)
    items = [b"broken", *good[:3], b"broken", b"", *good[3:], b"broken"]
    batches = list(model.batches(items, batch_size=4))
    passes = [batch for batch in batches if len(batch.rows)]
    assert [len(batch.rows) for batch in passes] == [4, 4, 3]
    skipped = {row: reason for batch in batches for row, reason in batch.skipped.items()}
    assert skipped.keys() == {0, 4, 5, 14}
    rows = np.concatenate([batch.rows for batch in passes])
    assert [items[row] is picture for row, picture in zip(rows, good, strict=True)] == [True] * 11
    found = np.concatenate([batch.vectors for batch in passes])
    assert np.array_equal(found, model.embed(good, batch_size=4))


def test_a_skipped_picture_is_known_before_the_batch_is_full(model):
    stream = model.batches(itertools.chain([b"broken"], itertools.repeat(pictures(1)[0])))
    assert next(stream).skipped.keys() == {0}
    stream.close()


@pytest.mark.parametrize("size", [0, -1, 1.5, True])
def test_a_wrong_batch_size(model, size):
    with pytest.raises(ValueError, match="batch_size must be an integer >= 1"):
        model.embed(pictures(1), batch_size=size)
