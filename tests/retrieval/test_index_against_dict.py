"""Adding, removing and compacting in any order, against a dictionary."""

import shutil
import tempfile
from functools import cache
from pathlib import Path

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

import ibc_pyg
from tests.helpers.index_pictures import CountingModel, save_picture

MODEL = CountingModel()
NAMES = [f"{folder}/{number}.png" for folder in "ab" for number in range(5)]
SEEDS = st.integers(0, 7)


class IndexAgainstDict(RuleBasedStateMachine):
    """The dictionary maps each file of the index to the seed of its pixels."""

    def __init__(self):
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.photos = self.folder / "photos"
        save_picture(self.photos / "z.png", 99)
        self.index = ibc_pyg.Index.build(MODEL.embedder, self.photos, self.folder / "index")
        self.files, self.indexed, self.removed = {"z.png": 99}, {"z.png": 99}, set()

    def teardown(self):
        self.index.close()
        shutil.rmtree(self.folder)

    @rule(name=st.sampled_from(NAMES), seed=SEEDS)
    def write(self, name, seed):
        save_picture(self.photos / name, seed)
        self.files[name] = seed

    @rule(name=st.sampled_from(NAMES))
    def delete(self, name):
        (self.photos / name).unlink(missing_ok=True)
        self.files.pop(name, None)

    @rule(name=st.sampled_from(NAMES))
    def add(self, name):
        if name in self.files:
            self.index.add(self.photos / name)
            self.indexed[name] = self.files[name]
            self.removed.discard(name)

    @rule()
    def sync(self):
        self.index.sync()
        self.removed &= self.files.keys()
        self.indexed = {k: v for k, v in self.files.items() if k not in self.removed}

    @precondition(lambda self: len(self.indexed) > 1)
    @rule(data=st.data())
    def remove(self, data):
        name = data.draw(st.sampled_from(sorted(self.indexed.keys() - {"z.png"})))
        self.index.remove(self.photos / name)
        del self.indexed[name]
        self.removed.add(name)

    @precondition(lambda self: any(name.startswith("a/") for name in self.indexed))
    @rule()
    def remove_class(self):
        chosen = {name for name in self.indexed if name.startswith("a/")}
        assert self.index.remove(label="a") == len(chosen)
        self.indexed = {k: v for k, v in self.indexed.items() if k not in chosen}
        self.removed |= chosen

    @rule()
    def compact(self):
        self.index.compact()
        assert len(self.index.vectors) == len(self.index)

    @rule()
    def reopen(self):
        self.index.close()
        self.index = ibc_pyg.Index.open(self.folder / "index", MODEL.embedder)

    @invariant()
    def same(self):
        found = {entry.path: entry for entry in self.index.catalogue}
        assert found.keys() == {str(self.photos / name) for name in self.indexed}
        assert len(self.index) == len(set(self.indexed.values()))
        rows = {}
        for name, seed in self.indexed.items():
            rows.setdefault(seed, set()).add(found[str(self.photos / name)].row)
        assert all(len(each) == 1 for each in rows.values())
        assert self.index.verify() == []
        for seed, (row,) in rows.items():
            assert np.allclose(self.index.vectors[row], vector_of(seed), atol=1e-6)
        hits = self.index.search(vector_of(3), k=100)
        listed = [path for hit in hits for path in (hit.path, *hit.copies)]
        assert sorted(listed) == sorted(found)


@cache
def vector_of(seed):
    """Return the vector of the picture of a seed."""
    with tempfile.TemporaryDirectory() as folder:
        file = save_picture(Path(folder) / "a.png", seed)
        return np.array(MODEL.embedder.embed([file]))[0]


TestIndexAgainstDict = IndexAgainstDict.TestCase
TestIndexAgainstDict.settings = settings(max_examples=15, stateful_step_count=15, deadline=None)
