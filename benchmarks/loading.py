"""Images per second of the data loader, from JPEG files and from the cache, and of ImageFolder.

    python benchmarks/loading.py --root DIR [--image-size 160] [--resize 160] [--out DIR]

DIR holds JPEG files in one folder per class. All methods load the same pictures at the same size,
with random resized crop, flip, normalisation and random erasing. They alternate in several rounds,
and the best round of each counts. Ratios are relative to ImageFolder with Pillow, transforms of
torchvision and DataLoader, with the same number of worker processes.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Sized
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import torchvision
from PIL import Image
from torch.utils.data import DataLoader, Subset
from torchvision import transforms as T
from torchvision.datasets import ImageFolder

from ibc_pyg.data.images.cache import open_cache
from ibc_pyg.data.images.decode import decode_image
from ibc_pyg.data.loading.loader import Loading, train_loader
from ibc_pyg.data.sampling import SamplerSettings, make_sampler
from ibc_pyg.data.table import ImageTable, Role
from ibc_pyg.data.transforms import transform_preset
from ibc_pyg.data.transforms.photo import PhotoTransform

CLASSES, IMAGES = 9, 6
BASELINE = "ImageFolder + PIL"

Pass = Callable[[], int]
"""Function that loads all pictures once and returns their number."""


@dataclass(frozen=True)
class Row:
    """One line of the result.

    Attributes:
        way: Name of the method.
        workers: Number of worker processes.
        images_per_second: Images per second in the best round.
        ratio: Ratio to the baseline with the same number of workers.
    """

    way: str
    workers: int
    images_per_second: float
    ratio: float


def table_of(root: Path, limit: int, seed: int) -> tuple[ImageTable, list[int]]:
    """Return up to `limit` random pictures of an image folder, and their indices in ImageFolder."""
    folder = ImageFolder(root)
    order = np.random.default_rng(seed).permutation(len(folder.samples))[:limit]
    files = [Path(folder.samples[i][0]) for i in order]
    names, labels = np.unique([str(file.parent) for file in files], return_inverse=True)
    return ImageTable(
        "loading_benchmark",
        tuple(str(file.relative_to(root)) for file in files),
        labels.astype(np.int64),
        np.full(len(files), Role.TRAIN.value, np.uint8),
        tuple(names.tolist()),
        root=root,
    ), order.tolist()


def baseline(root: Path, indices: list[int], transform: PhotoTransform, workers: int) -> Pass:
    """Return the baseline: ImageFolder with Pillow, transforms of torchvision and a DataLoader."""
    pipeline = T.Compose(
        [
            T.RandomResizedCrop(transform.image_size, transform.crop_scale, transform.crop_ratio),
            T.RandomHorizontalFlip(transform.flip),
            T.ToTensor(),
            T.Normalize(transform.mean, transform.std),
            T.RandomErasing(
                transform.erase_probability, transform.erase_scale, transform.erase_ratio
            ),
        ]
    )
    loader = DataLoader(
        Subset(ImageFolder(root, pipeline), indices),
        CLASSES * IMAGES,
        shuffle=True,
        num_workers=workers,
        persistent_workers=workers > 0,
        drop_last=True,
    )
    return lambda: sum(len(labels) for _, labels in loader)


def ours(
    table: ImageTable, transform: PhotoTransform, workers: int, cache_dir: Path | None
) -> Pass:
    """Return the data loader of ibc_pyg, from files or from the cache."""
    cache = None if cache_dir is None else open_cache(table, transform.resize, cache_dir)
    sampler = make_sampler("walk", table.labels, SamplerSettings(CLASSES, IMAGES, seed=0))
    loader = train_loader(table, sampler, transform, Loading(workers, cache=cache), seed=0)
    return lambda: sum(len(batch) for batch in loader)


def decode_only(table: ImageTable, decode: Callable[[Path], Sized]) -> Pass:
    """Return decoding only, in one process."""
    files = [Path(table.root or "") / path for path in table.paths]
    return lambda: sum(len(decode(file)) > 0 for file in files)


def measure(ways: dict[tuple[str, int], Pass], rounds: int) -> dict[tuple[str, int], float]:
    """Return images per second of the best round of each method, after a warm-up round."""
    best = dict.fromkeys(ways, 0.0)
    for number in range(rounds + 1):
        for key, load in ways.items():
            start = time.perf_counter()
            count = load()
            if number:
                best[key] = max(best[key], count / (time.perf_counter() - start))
    return best


def markdown(rows: list[Row], facts: dict[str, object]) -> str:
    lines = [f"- {name}: {value}" for name, value in facts.items()]
    lines += ["", "| way | workers | images/s | ratio |", "|---|---:|---:|---:|"]
    lines += [
        f"| {r.way} | {r.workers} | {r.images_per_second:,.0f} | {r.ratio:.2f} |" for r in rows
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, required=True, help="folder of class folders")
    parser.add_argument("--image-size", type=int, default=160)
    parser.add_argument("--resize", type=int, default=160, help="shorter side in the cache")
    parser.add_argument("--images", type=int, default=3000, help="maximum number of pictures")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 2])
    parser.add_argument("--out", type=Path, help="folder for loading.json and loading.md")
    args = parser.parse_args()
    if not args.root.is_dir():
        parser.error(f"--root {args.root}: no such folder")
    torch.set_num_threads(1)
    transform = transform_preset("imagenet", image_size=args.image_size, resize=args.resize)
    assert isinstance(transform, PhotoTransform)
    table, indices = table_of(args.root, args.images, seed=0)
    with tempfile.TemporaryDirectory() as cache_dir:
        start = time.perf_counter()
        open_cache(table, args.resize, Path(cache_dir))
        building = time.perf_counter() - start
        ways: dict[tuple[str, int], Pass] = {}
        for workers in args.workers:
            ways[BASELINE, workers] = baseline(args.root, indices, transform, workers)
            ways["ours, JPEG", workers] = ours(table, transform, workers, None)
            ways["ours, cache", workers] = ours(table, transform, workers, Path(cache_dir))
        ways["decoding alone, torchvision", 0] = decode_only(table, decode_image)
        ways["decoding alone, PIL", 0] = decode_only(
            table, lambda file: Image.open(file).convert("RGB").tobytes()
        )
        speed = measure(ways, args.rounds)
    rows = [
        Row(way, workers, fast, fast / speed[BASELINE, workers])
        for (way, workers), fast in speed.items()
    ]
    facts: dict[str, object] = {
        "command": " ".join(["python", *sys.argv]),
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores, "
        f"load {os.getloadavg()[0]:.1f}",
        "versions": f"torch {torch.__version__}, torchvision {torchvision.__version__}",
        "pictures": f"{len(table)} at {args.image_size} px, batches of {CLASSES * IMAGES}",
        "making the cache": f"{building:.1f} s",
    }
    text = markdown(rows, facts)
    print(text)
    if args.out is not None:
        args.out.mkdir(parents=True, exist_ok=True)
        (args.out / "loading.md").write_text(text, encoding="utf-8")
        result = {**facts, "rows": [asdict(row) for row in rows]}
        (args.out / "loading.json").write_text(json.dumps(result, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
