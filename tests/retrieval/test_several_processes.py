"""One process writes; any number of others search, and see the index before or after a change."""

import multiprocessing
import threading
import time

import numpy as np
import pytest

import ibc_pyg
from ibc_pyg.errors import InUseError
from ibc_pyg.retrieval.store.writer import store_writer
from ibc_pyg.retrieval.update.fill import Pace
from tests.helpers.index_pictures import CountingModel, save_pictures

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["ibc_pyg.retrieval.index", "tests.helpers.index_pictures"])
READERS = 8


@pytest.fixture
def index(tmp_path):
    save_pictures(tmp_path / "photos", 24)
    model = CountingModel().embedder
    with ibc_pyg.Index.build(model, tmp_path / "photos", tmp_path / "index") as index:
        yield index


def read_until_told(path, ready, told, results):
    """Search again and again; report the sizes seen, or the error."""
    sizes, searches = set(), 0
    try:
        with ibc_pyg.Index.open(path) as index:
            while True:
                last = told.is_set()
                query = np.random.default_rng(searches).normal(size=16).astype(np.float32)
                hits = index.search(query, k=1000)
                assert len({hit.path for hit in hits}) == len(hits)
                scores = [hit.similarity for hit in hits]
                assert scores == sorted(scores, reverse=True)
                vectors = index.vectors
                if _same_generation(index, hits):
                    wanted = vectors[[hit.row for hit in hits]] @ query / np.linalg.norm(query)
                    assert np.allclose(scores, wanted, atol=1e-6)
                sizes.add(len(hits))
                searches += 1
                if searches == 1:
                    ready.wait(100)
                if last:
                    break
        results.put((sizes, searches))
    except BaseException as error:
        results.put(f"{type(error).__name__}: {error}")


def _same_generation(index, hits):
    """Rows are renumbered by a compaction, which may come between search and comparison."""
    rows = {entry.path: entry.row for entry in index.catalogue}
    return all(rows.get(hit.path) == hit.row for hit in hits)


def test_readers_beside_a_writer_never_fail_and_see_whole_states(index, tmp_path):
    index.pace = Pace(1, 0)
    told, results, ready = CONTEXT.Event(), CONTEXT.Queue(), CONTEXT.Barrier(READERS + 1)
    readers = [
        CONTEXT.Process(target=read_until_told, args=(index.path, ready, told, results))
        for _ in range(READERS)
    ]
    for reader in readers:
        reader.start()
    ready.wait(100)
    expected = {24}
    for step in range(6):
        save_pictures(tmp_path / "more", 8, first_seed=100 + 8 * step)
        for number, file in enumerate(sorted((tmp_path / "more").rglob("*.png"))):
            file.rename(file.with_name(f"{step}-{number}.png"))
        new = [f for f in (tmp_path / "more").rglob(f"{step}-*.png") if f.stat().st_size]
        before = len(index)
        index.add(new, batch_size=4)
        expected |= set(range(before, len(index) + 1))
        index.remove(row=range(0, 4))
        expected.add(len(index))
        index.compact()
        time.sleep(0.05)
    told.set()
    found = [results.get(timeout=100) for _ in readers]
    for reader in readers:
        reader.join(100)
    for each in found:
        assert not isinstance(each, str), each
        sizes, searches = each
        assert searches > 1
        assert sizes <= expected, sizes
        assert len(index) in sizes, "the last state was seen"
    assert index.verify() == []


def test_a_second_writer_is_told_who_writes(index):
    with (
        store_writer(index.path, index.dim),
        pytest.raises(InUseError, match=r"index is in use by process \d+ on .* since"),
    ):
        index.sync()
    assert index.sync().unchanged == 24


def test_a_search_during_a_change_in_the_same_process(index):
    """A reader of another object sees the old state until the commit."""
    with (
        store_writer(index.path, index.dim) as writer,
        ibc_pyg.Index.open(index.path) as other,
        writer.commit() as sql,
    ):
        sql.execute("DELETE FROM names")
        sql.execute("UPDATE contents SET uses = 0")
        assert len(other.search(np.ones(16, np.float32), k=100)) == 24
    assert index.search(np.ones(16, np.float32), k=100) == []


def test_searches_of_several_threads(index):
    query, found = np.ones(16, np.float32), []
    wanted = index.search(query, k=5)
    threads = [
        threading.Thread(target=lambda: found.extend(index.search(query, k=5) for _ in range(20)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [wanted] * 80
