"""An index of given vectors, whose pictures and model do not exist."""

import hashlib
import json
from pathlib import Path

import numpy as np

from ibc_pyg.retrieval.fingerprint import Fingerprint
from ibc_pyg.retrieval.index import Index
from ibc_pyg.retrieval.store.catalogue import Name, put_name, write_meta
from ibc_pyg.retrieval.store.connection import create
from ibc_pyg.retrieval.store.roots import FILES, Source, add_root
from ibc_pyg.retrieval.store.writer import CATALOGUE, store_writer


def clustered(rows, dim, clusters=40, noise=0.3, seed=0):
    """Return unit vectors around random centres, float32 `[rows, dim]`, and their clusters."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(clusters, dim))
    cluster = rng.integers(clusters, size=rows)
    x = centres[cluster] + noise * rng.normal(size=(rows, dim))
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32), cluster


def make_vector_index(folder, vectors, labels=None):
    """Make an index of vectors `[N, D]`, one file each."""
    folder.mkdir()
    transform = {"image_size": 8, "resize": 8, "mean": [0.0], "std": [1.0]}
    model = Fingerprint("none", {}, "0" * 64, vectors.shape[1], transform, None, "32-true", {})
    meta = {"rows": 0, "generation": 1, "complete": 1, "model": model.to_json()}
    create(folder / CATALOGUE, {**meta, "source": json.dumps(None)})
    append_vectors(folder, vectors, labels)
    return Index.open(folder)


def append_vectors(folder, vectors, labels=None):
    """Add further vectors to such an index."""
    with store_writer(Path(folder), vectors.shape[1]) as writer:
        first = writer.state.rows
        rows = range(first, first + len(vectors))
        digests = [hashlib.sha256(str(row).encode()).digest() for row in rows]
        with writer.commit(digests, vectors) as sql:
            root = 1 if first else add_root(sql, Source(FILES, "/pictures"))
            for number, row in enumerate(rows):
                label = None if labels is None else str(labels[number])
                put_name(sql, Name(root, f"{row}.png", row, 1, 1, label))
            write_meta(sql, complete=1)
