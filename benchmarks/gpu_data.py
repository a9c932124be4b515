"""Loading, retrieval metrics and k-means around a GPU, each with one table.

python benchmarks/gpu_data.py retrieval --device cuda --json FILE --markdown FILE
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from _output import add_outputs, write_outputs
from _training_case import config_of, make_pictures

from ibc_pyg.builders.data import Data, build_data
from ibc_pyg.data.loading.loader import Loading, eval_loader, train_loader
from ibc_pyg.data.sampling import SamplerSettings, make_sampler
from ibc_pyg.data.transforms import transform_preset
from ibc_pyg.metrics import clustering_metrics, retrieval_metrics


def loading(args: argparse.Namespace) -> list[dict[str, Any]]:
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        make_pictures(Path(folder))
        data = build_data(config_of("resnet50", Path(folder), ["--data.workers", "0"]))
        for workers in args.workers:
            source = Loading(workers, args.device)
            loader = eval_loader(data.table, data.splits.train, data.transform, 54, source)
            list(loader)  # starts the workers
            start = time.perf_counter()
            count = sum(len(batch) for batch in loader)
            seconds = time.perf_counter() - start
            rows.append({"case": f"{workers} workers", "images_per_s": count / seconds})
        for workers in args.workers:
            for name in ("scale_on_device", "decode_on_device"):
                rows.append(training(data, name, workers, args.device))
    return rows


def training(data: Data, name: str, workers: int, device: str) -> dict[str, Any]:
    """Training batches of a transform that leaves work to the device."""
    transform = transform_preset("imagenet", **{name: True})
    table = data.train_table
    sampler = make_sampler("walk", table.labels, SamplerSettings(9, 6, seed=0))
    loader = train_loader(table, sampler, transform, Loading(workers, device), seed=0)
    list(loader)
    if device == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    count = sum(len(batch) for batch in loader)
    if device == "cuda":
        torch.cuda.synchronize()
    speed = count / (time.perf_counter() - start)
    return {"case": f"{workers} workers, {name}", "images_per_s": speed}


def points(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(count) * max(2, count // 5) // count
    centres = torch.randn(int(labels.max()) + 1, 512, generator=generator)
    x = centres[labels] + 3 * torch.randn(count, 512, generator=generator)
    return torch.nn.functional.normalize(x), labels


def retrieval(args: argparse.Namespace) -> list[dict[str, Any]]:
    x, labels = points(args.count)
    x = x.to(args.device)
    on_gpu = x.is_cuda
    retrieval_metrics(x[:1000], labels[:1000])
    if on_gpu:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated() if on_gpu else 0
    start = time.perf_counter()
    found = retrieval_metrics(x, labels)
    row = {"case": f"{args.count} descriptors", "seconds": time.perf_counter() - start}
    if on_gpu:
        row["gib"] = (torch.cuda.max_memory_allocated() - before) / 2**30
    return [{**row, "R@1": found["R@1"]}]


def k_means(args: argparse.Namespace) -> list[dict[str, Any]]:
    x, labels = points(args.count)
    start = time.perf_counter()
    found = clustering_metrics(x, labels)
    row = {"case": f"{args.count} descriptors", "seconds": time.perf_counter() - start}
    return [{**row, "NMI": found["NMI"], "on_gpu": found["kmeans_on_gpu"]}]


WORK = {"loading": loading, "retrieval": retrieval, "k-means": k_means}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("what", choices=list(WORK))
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--count", type=int, default=60502, help="number of descriptors")
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 4, 8, 15])
    add_outputs(parser)
    args = parser.parse_args()
    rows = WORK[args.what](args)
    names = list(rows[0])
    lines = ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
    lines += [
        "| " + " | ".join(v if isinstance(v, str) else f"{v:,.4g}" for v in row.values()) + " |"
        for row in rows
    ]
    write_outputs(args, {"results": rows}, "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
