"""Planted copies among photographs and drawings: recall and precision beside other tools.

Originals are the GroceryStore photographs and the Omniglot drawings, contents that occur twice left
out. Of photographs of the test classes (41 to 80) copies are made, some of each kind, until there
are `--pictures`. A pair counts as right if one is the planted copy of the other, and as wrong if it
is not. The index is built with a network of torchvision; imagededup's CNN gets the same network.
Tools that are not installed are left out.

    python benchmarks/duplicates.py --shared ../shared --weights mobilenet_v2.pt --work /tmp/copies
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
import zipfile
from collections.abc import Callable, Iterable
from importlib.util import find_spec
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _output import add_outputs, write_outputs
from _timing import machine
from PIL import Image

Picture = Image.Image
Pair = tuple[str, str]


def resized(picture: Picture, scale: float) -> Picture:
    size = (round(picture.width * scale), round(picture.height * scale))
    return picture.resize(size, Image.Resampling.BICUBIC)


def cut(picture: Picture, share: float, rng: np.random.Generator) -> Picture:
    """Cut a share of width and height, divided at random between opposite sides."""
    across, down = round(picture.width * share), round(picture.height * share)
    left, top = rng.integers(across + 1), rng.integers(down + 1)
    right, bottom = picture.width - (across - left), picture.height - (down - top)
    return picture.crop((int(left), int(top), int(right), int(bottom)))


Kind = Callable[[Picture, np.random.Generator], Picture]
KINDS: dict[str, Kind] = {
    "JPEG 30": lambda p, rng: p,
    "JPEG 50": lambda p, rng: p,
    "JPEG 75": lambda p, rng: p,
    "JPEG 95": lambda p, rng: p,
    "resized 0.5": lambda p, rng: resized(p, 0.5),
    "resized 0.75": lambda p, rng: resized(p, 0.75),
    "resized 1.5": lambda p, rng: resized(p, 1.5),
    "resized 2": lambda p, rng: resized(p, 2.0),
    "cut 2 %": lambda p, rng: cut(p, 0.02, rng),
    "cut 5 %": lambda p, rng: cut(p, 0.05, rng),
    "cut 5 %, JPEG 75": lambda p, rng: cut(p, 0.05, rng),
    "mirrored": lambda p, rng: p.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    "grey": lambda p, rng: p.convert("L").convert("RGB"),
}


def originals(shared: Path) -> list[tuple[str, bytes, bool]]:
    """Return name, content, and whether it may be copied, of every different picture."""
    found: dict[bytes, tuple[str, bytes, bool]] = {}
    grocery = shared / "data/grocery_store"
    for part in ("train", "val", "test"):
        for line in (grocery / f"{part}.txt").read_text().splitlines():
            path, fine, _ = (each.strip() for each in line.split(","))
            data = (grocery / path).read_bytes()
            name = "photo_" + path.replace("/", "_")
            found.setdefault(hashlib.sha256(data).digest(), (name, data, int(fine) > 40))
    for archive in sorted((shared / "data/omniglot_small").glob("*.zip")):
        with zipfile.ZipFile(archive) as files:
            for name in sorted(files.namelist()):
                if name.endswith(".png"):
                    data = files.read(name)
                    flat = "drawing_" + name.replace("/", "_")
                    found.setdefault(hashlib.sha256(data).digest(), (flat, data, False))
    return list(found.values())


def make_pictures(shared: Path, out: Path, number: int, each: int, seed: int) -> dict[str, Any]:
    """Write originals and copies into a folder; return the kind of each copy by its name."""
    rng = np.random.default_rng(seed)
    out.mkdir(parents=True)
    everything = originals(shared)
    photographs = [each for each in everything if each[0].startswith("photo_")]
    drawings = [each for each in everything if not each[0].startswith("photo_")]
    copies = each * len(KINDS)
    drawings = [drawings[i] for i in rng.permutation(len(drawings))]
    chosen = (photographs + drawings)[: number - copies]
    for name, data, _ in chosen:
        (out / name).write_bytes(data)
    sources = [name for name, _, may in chosen if may]
    planted = {}
    order = rng.permutation(len(sources))[:copies]
    for place, kind in zip(order, [k for k in KINDS for _ in range(each)], strict=True):
        source = sources[place]
        with Image.open(out / source) as picture:
            copy = KINDS[kind](picture.convert("RGB"), rng)
        # The last step of a kind with JPEG is the file itself; the others are kept without loss.
        quality = int(kind.split()[-1]) if "JPEG" in kind else None
        name = f"copy_{len(planted):04d}.{'png' if quality is None else 'jpg'}"
        if quality is None:
            copy.save(out / name)
        else:
            copy.save(out / name, quality=quality)
        planted[name] = {"of": source, "kind": kind}
    return planted


def pairs_of(groups: Iterable[Iterable[str]]) -> set[Pair]:
    return {
        (min(a, b), max(a, b))
        for group in groups
        for a, b in combinations(sorted({Path(path).name for path in group}), 2)
    }


def score(found: set[Pair], planted: dict[str, Any]) -> dict[str, Any]:
    """Return recall of each kind, precision, and the number of pairs of different originals."""
    right = {(min(a, b["of"]), max(a, b["of"])): b["kind"] for a, b in planted.items()}
    hits = dict.fromkeys(KINDS, 0)
    for pair in found & right.keys():
        hits[right[pair]] += 1
    total = {kind: sum(each == kind for each in right.values()) for kind in KINDS}
    recall = {kind: hits[kind] / total[kind] for kind in KINDS}
    wrong = found - right.keys()
    same_class = 0
    for a, b in wrong:
        a, b = (planted.get(each, {"of": each})["of"] for each in (a, b))
        same_class += a != b and a.rsplit("_", 1)[0] == b.rsplit("_", 1)[0] and a[:1] == "p"
    return {
        "recall": recall,
        "all": sum(hits.values()) / len(right),
        "precision": len(found & right.keys()) / max(1, len(found)),
        "wrong pairs": len(wrong),
        "photographs of one class": same_class,
        "wrong": sorted(wrong)[:50],
    }


def run_ours(args: argparse.Namespace, folder: Path, mirrored: bool) -> set[Pair]:
    from ibc_pyg.collections.duplicates.find import find_duplicates
    from ibc_pyg.collections.duplicates.result import Settings
    from ibc_pyg.retrieval.index import Index

    with Index.open(args.work / "copies.index") as index:
        found = find_duplicates(index, settings=Settings(mirrored=mirrored))
    return pairs_of(group.paths for group in found.groups)


def run_phash(args: argparse.Namespace, folder: Path) -> set[Pair]:
    from imagededup.methods import PHash

    found = PHash(verbose=False).find_duplicates(
        image_dir=folder, max_distance_threshold=10, num_enc_workers=0, num_dist_workers=0
    )
    return pairs_of((a, b) for a, others in found.items() for b in others)


def run_cnn(args: argparse.Namespace, folder: Path) -> set[Pair]:
    import torchvision
    from imagededup.methods import CNN
    from imagededup.utils import CustomModel

    state = torch.load(args.weights, weights_only=True)
    network = torchvision.models.mobilenet_v2(num_classes=len(state["classifier.1.bias"]))
    network.load_state_dict(state)
    network.classifier = torch.nn.Identity()
    transform = torchvision.models.MobileNet_V2_Weights.IMAGENET1K_V1.transforms()
    cnn = CNN(False, model_config=CustomModel("mobilenet_v2", network.eval(), transform))
    found = cnn.find_duplicates(
        image_dir=folder,
        min_similarity_threshold=0.9,
        num_enc_workers=0,
        num_sim_workers=0,
    )
    return pairs_of((a, b) for a, others in found.items() for b in others)


def run_cleanvision(args: argparse.Namespace, folder: Path) -> set[Pair]:
    from cleanvision import Imagelab

    lab = Imagelab(data_path=str(folder))
    lab.find_issues({"exact_duplicates": {}, "near_duplicates": {}}, n_jobs=1, verbose=False)
    return pairs_of([*lab.info["near_duplicates"]["sets"], *lab.info["exact_duplicates"]["sets"]])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shared", type=Path, required=True, help="folder of data")
    parser.add_argument("--weights", type=Path, required=True, help="of mobilenet_v2")
    parser.add_argument("--work", type=Path, required=True, help="folder for pictures and index")
    parser.add_argument("--pictures", type=int, default=10_000)
    parser.add_argument("--each", type=int, default=75, help="copies of each kind")
    parser.add_argument("--seed", type=int, default=0)
    add_outputs(parser)
    args = parser.parse_args()
    folder, record = args.work / "pictures", args.work / "planted.json"
    if not record.is_file():
        planted = make_pictures(args.shared, folder, args.pictures, args.each, args.seed)
        record.write_text(json.dumps(planted))
    planted = json.loads(record.read_text())

    from ibc_pyg.retrieval.index import Index
    from ibc_pyg.retrieval.reader import is_index

    place = args.work / "copies.index"
    if not is_index(place):
        Index.build("mobilenet_v2", folder, place, weights=args.weights, progress=True).close()
    report: dict[str, Any] = {
        "machine": machine(torch.device("cpu")),
        "pictures": args.pictures,
        "tools": {},
    }
    tools: dict[str, Callable[[], set[Pair]]] = {
        "**ibc_pyg**": lambda: run_ours(args, folder, True),
        "**ibc_pyg**, `--no-mirrored`": lambda: run_ours(args, folder, False),
    }
    if find_spec("imagededup"):
        tools["imagededup PHash"] = lambda: run_phash(args, folder)
        tools["imagededup CNN"] = lambda: run_cnn(args, folder)
    if find_spec("cleanvision"):
        tools["cleanvision"] = lambda: run_cleanvision(args, folder)
    done = args.work / "results.json"  # what was measured already, by name
    if done.is_file():
        report["tools"] = json.loads(done.read_text())
    for name, tool in tools.items():
        if name in report["tools"]:
            continue
        start = time.perf_counter()
        found = tool()
        seconds = time.perf_counter() - start
        report["tools"][name] = score(found, planted) | {"seconds": seconds}
        done.write_text(json.dumps(report["tools"]))
        print(name, {k: v for k, v in report["tools"][name].items() if k != "wrong"}, flush=True)
    write_outputs(args, report, table(report))


def table(report: dict[str, Any]) -> str:
    tools = report["tools"]
    lines = [
        "| recall in % | " + " | ".join(tools) + " |",
        "|---|" + "---:|" * len(tools),
    ]
    for kind in KINDS:
        cells = [f"{100 * tool['recall'][kind]:.1f}" for tool in tools.values()]
        lines.append(f"| {kind} | " + " | ".join(cells) + " |")
    for title, key, scale in (("all kinds", "all", 100), ("precision in %", "precision", 100)):
        cells = [f"{scale * tool[key]:.1f}" for tool in tools.values()]
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    for key in ("wrong pairs", "photographs of one class"):
        title = key if key == "wrong pairs" else "of them two photographs of one class"
        lines.append(f"| {title} | " + " | ".join(f"{t[key]:,}" for t in tools.values()) + " |")
    seconds = [f"{tool['seconds']:.0f}" for tool in tools.values()]
    lines.append("| seconds | " + " | ".join(seconds) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
