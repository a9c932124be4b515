"""Duplicates and groups among a million descriptors: time and memory of each stage.

The descriptors are random clusters of which a share are near-copies, in an index without picture
files. Perceptual hashes and small pictures are drawn instead: near-copies have alike ones. Stages
that take long are measured on `--part` of the descriptors, against all of them, and the time of all
is estimated from it; the table says so.

    python benchmarks/order_scale.py --rows 1000000 --dim 128 --part 0.05
    python benchmarks/order_scale.py --rows 1000000 --dim 128 --groups 10000
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _output import add_outputs, write_outputs
from _timing import _reset_peak, _status, machine

from ibc_pyg.collections.contents import Contents, Rows
from ibc_pyg.collections.duplicates.candidates import by_hash, by_neighbours, unique_pairs
from ibc_pyg.collections.duplicates.groups import complete_groups
from ibc_pyg.collections.duplicates.judge import THRESHOLD, Judge
from ibc_pyg.collections.duplicates.small import SIDE, SmallPictures
from ibc_pyg.collections.neighbours import STEP, release
from ibc_pyg.metrics.clustering import KMeansSettings, default_passes, default_swaps, kmeans
from ibc_pyg.retrieval.fingerprint import Fingerprint
from ibc_pyg.retrieval.index import Index
from ibc_pyg.retrieval.store.catalogue import Name, put_name, write_meta
from ibc_pyg.retrieval.store.connection import create
from ibc_pyg.retrieval.store.roots import FILES, Source, add_root
from ibc_pyg.retrieval.store.writer import CATALOGUE, store_writer

_STEP = 50_000


def vectors_of(rows: int, dim: int, copies: float) -> Any:
    """Return unit vectors around random centres; the last share are near-copies of the first."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(max(1, rows // 100), dim)).astype(np.float32)
    x = np.empty((rows, dim), np.float32)
    for start in range(0, rows, _STEP):
        part = x[start : start + _STEP]
        part[:] = rng.normal(size=part.shape) * 0.5
        part += centres[rng.integers(len(centres), size=len(part))]
    number = round(rows * copies)
    x[rows - number :] = x[:number] + 0.01 * rng.normal(size=(number, dim))
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def make_index(folder: Path, x: Any) -> Index:
    """Write an index of given vectors, whose files do not exist."""
    import hashlib

    folder.mkdir()
    transform = {"image_size": 8, "resize": 8, "mean": [0.0], "std": [1.0]}
    model = Fingerprint("none", {}, "0" * 64, x.shape[1], transform, None, "32-true", {})
    meta = {"rows": 0, "generation": 1, "complete": 1, "model": model.to_json()}
    create(folder / CATALOGUE, {**meta, "source": json.dumps(None)})
    with store_writer(folder, x.shape[1]) as writer:
        root = None
        for start in range(0, len(x), _STEP):
            rows = range(start, min(start + _STEP, len(x)))
            digests = [hashlib.sha256(str(row).encode()).digest() for row in rows]
            with writer.commit(digests, x[start : start + _STEP]) as sql:
                root = root or add_root(sql, Source(FILES, "/pictures"))
                for row in rows:
                    put_name(sql, Name(root, f"a/folder/of/pictures/{row:07}.jpg", row, 1, 1, None))
    with store_writer(folder, x.shape[1]) as writer, writer.commit() as sql:
        write_meta(sql, complete=1)
    return Index.open(folder)


def drawn_pictures(contents: Contents, copies: int) -> SmallPictures:
    """Return random hashes, and for originals and near-copies small pictures that are alike."""
    small = SmallPictures()
    number = len(contents)
    rng = np.random.default_rng(1)
    hashes = rng.integers(0, 2**63, number, dtype=np.uint64)  # by row
    hashes[number - copies :] = hashes[:copies] ^ np.uint64(1)
    small.hashes = hashes[contents.rows]
    small.mirrored = rng.integers(0, 2**63, number, dtype=np.uint64)
    small.usable = np.ones(number, np.bool_)
    small._file.truncate(number * SIDE * SIDE)
    rows = contents.rows
    for place in np.flatnonzero((rows < copies) | (rows >= number - copies)).tolist():
        own = rows[place] - (number - copies) if rows[place] >= copies else rows[place]
        coarse = np.random.default_rng(own).integers(0, 256, (16, 16)).astype(np.uint8)
        picture = coarse.repeat(4, 0).repeat(4, 1) ^ np.uint8(own != rows[place])  # [SIDE, SIDE]
        small._file.seek(place * SIDE * SIDE)
        small._file.write(picture.tobytes())
    small._file.flush()
    return small


def peak() -> float:
    """Return the peak of the resident memory since the last stage in GiB, mapped files included."""
    return _status("VmHWM") / 2**30


class Stages:
    """Times of stages, and the peak of memory after each."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self._began = time.perf_counter()

    def done(self, name: str, share: float = 1.0, note: str = "") -> None:
        """End a stage that was measured on a share of the data."""
        seconds = time.perf_counter() - self._began
        self.rows.append(
            {"stage": name, "seconds": seconds, "share": share, "peak": peak(), "note": note}
        )
        print(self.rows[-1], flush=True)
        _reset_peak()
        self._began = time.perf_counter()


def prepare(args: argparse.Namespace, path: Path) -> None:
    """Write the index and build its approximate search."""
    with make_index(path, vectors_of(args.rows, args.dim, args.copies)) as index:
        index.rebuild("ivf", 0.9)


def nearest(index: Index, contents: Contents, part: float) -> Iterator[tuple[Rows, Rows]]:
    """Yield places and those of their neighbours, for the first part of the contents."""
    vectors, number = index.vectors, round(part * len(contents))
    for start in range(0, number, STEP):
        own = np.arange(start, min(start + STEP, number))
        found = index.nearest(np.ascontiguousarray(vectors[contents.rows[own]]), 17)
        release(vectors)
        yield own, contents.places(found.rows, len(vectors))


def duplicates(args: argparse.Namespace, folder: Path, stages: Stages) -> None:
    # In a process of its own, whose memory is none of the command's.
    subprocess.run([sys.executable, *sys.argv, "--prepare", str(folder / "index")], check=True)
    copies = round(args.rows * args.copies)
    stages.done("(index built)")
    index = Index.open(folder / "index")
    contents = Contents.of(index)
    stages.done("catalogue read")
    small = drawn_pictures(contents, copies)
    stages.done("(small pictures drawn)")
    near = list(by_neighbours(nearest(index, contents, args.part), small, mirrored=True))
    stages.done("neighbours by descriptor", args.part)
    parts = list(by_hash(small, mirrored=True))
    stages.done("neighbours by hash")
    pairs = unique_pairs([*near, *parts])
    judged = Judge(small).judge(pairs)
    passing = judged.passing(THRESHOLD)
    stages.done("pixels compared", 1.0, f"{len(pairs):,} pairs")
    groups = complete_groups(
        judged.pairs[passing],
        judged.similarity[passing],
        lambda new: Judge(small).judge(new).passing(THRESHOLD),
    )
    stages.done("groups", 1.0, f"{len(groups):,} groups for {copies:,} near-copies")


def groups(args: argparse.Namespace, stages: Stages) -> None:
    x = torch.from_numpy(vectors_of(args.rows, args.dim, 0.0))
    stages.done("(descriptors drawn)")
    rounds = max(1, round(args.part * args.iterations)) if args.part < 1 else args.iterations
    settings = KMeansSettings(
        iterations=rounds,
        swaps=default_swaps(args.groups),
        passes=default_passes(args.groups),
    )
    _, inertia, _ = kmeans(x, args.groups, settings)
    stages.done(
        f"k-means of {args.groups:,} groups, {rounds} iterations at most", 1.0, f"{inertia:.4f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--copies", type=float, default=0.05)
    parser.add_argument("--part", type=float, default=1.0)
    parser.add_argument("--groups", type=int, help="measure k-means instead of duplicates")
    parser.add_argument("--iterations", type=int, default=100)
    parser.add_argument("--prepare", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--work", type=Path, help="folder for the index (default: temporary)")
    add_outputs(parser)
    args = parser.parse_args()
    if args.prepare:
        prepare(args, args.prepare)
        return
    stages = Stages()
    with tempfile.TemporaryDirectory(dir=args.work) as folder:
        if args.groups:
            groups(args, stages)
        else:
            duplicates(args, Path(folder), stages)
    report = {
        "machine": machine(torch.device("cpu")),
        "settings": {key: str(value) for key, value in vars(args).items()},
        "stages": stages.rows,
    }
    lines = [
        "| stage | measured on | seconds | seconds for all | peak memory, GiB | |",
        "|---|---:|---:|---:|---:|---|",
    ]
    for row in stages.rows:
        share = "all" if row["share"] == 1 else f"{100 * row['share']:.3g} %"
        lines.append(
            f"| {row['stage']} | {share} | {row['seconds']:.0f} | "
            f"{row['seconds'] / row['share']:.0f} | {row['peak']:.2f} | {row['note']} |"
        )
    write_outputs(args, report, "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
