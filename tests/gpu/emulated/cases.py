"""Cases on the emulated device: `python -m tests.gpu.emulated.cases NAME` prints a line of JSON."""

import itertools
import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from rich.console import Console

from ibc_pyg.config.files.yaml_file import parse_config
from ibc_pyg.data.transforms import small, transform_preset
from ibc_pyg.data.transforms.base import image_sizes
from ibc_pyg.evaluation import scores as score_module
from ibc_pyg.losses.factory import make_loss
from ibc_pyg.losses.term import TermInput
from ibc_pyg.metrics import retrieval_metrics
from ibc_pyg.training import fit, run
from tests.gpu.emulated.device import emulate_device
from tests.gpu.emulated.dispatch import EmulatedDevice
from tests.gpu.emulated.generators import patch_generators
from tests.gpu.emulated.log import LOG

emulate_device()
patch_generators(small)

OPTIONS = [
    "--select", "last", "--data.name", "digits", "--data.classes_per_batch", "3",
    "--data.images_per_class", "8", "--data.transform", "glyphs", "--data.transform_args",
    "{image_size: 8}", "--model.backbone_args", "{width: 8}", "--model.embedding_dim", "32",
    "--model.heads", "2", "--train.device", "cuda", "--train.epochs", "1",
    "--train.lr_milestones", "[]", "--data.workers", "0", "--track.report", "false",
    "--evaluate.clustering", "false", "--train.evaluate_every", "0",
]  # fmt: skip


def train(*options):
    """Waits of each step of a training, with the loading of its batch and its records."""
    config, real, marks = parse_config(None, [*OPTIONS, *options]), fit.train_step, []

    def step(experiment, batch):
        marks.append(len(LOG.waits))
        return real(experiment, batch)

    fit.train_step = step
    with tempfile.TemporaryDirectory() as folder, EmulatedDevice():
        done = run.train(config, Path(folder) / "run", Console(quiet=True))
        history = done.read_history()
    between = [LOG.waits[a:b] for a, b in itertools.pairwise(marks[2:-1])]
    losses = [record["train/loss"] for record in history if "train/loss" in record]
    kernels = sorted(
        name for name in LOG.operations if "._fused_a" in name or "._fused_sgd" in name
    )
    return {
        "steps": len(marks),
        "waits": between,
        "losses": losses,
        "kernels": kernels,
        "benchmark": torch.backends.cudnn.benchmark,
    }


def transform(name):
    """Waits of the second batch of a transform."""
    made = transform_preset(name)
    size, draws = made.image_size, np.random.default_rng(0).random((4, made.num_draws))
    pixels = torch.randint(0, 256, (4, size, size, made.channels), dtype=torch.uint8)
    expected = made.finish(pixels, draws)
    with EmulatedDevice():
        there = pixels.to("cuda")
        made.finish(there, draws)
        LOG.clear()
        out = made.finish(there, draws)
        logged = list(LOG.waits)
        # Noise is drawn on the device, by a generator of its own.
        error = float((out.cpu() - expected).abs().max())
    return {"waits": logged, "error": error}


def crops():
    """Waits of the second batch of crops that are scaled on the device, and the error."""
    made = transform_preset("imagenet", image_size=32, resize=36, scale_on_device=True)
    generator = torch.Generator().manual_seed(0)
    images = [
        torch.randint(0, 256, (3, *size), dtype=torch.uint8, generator=generator)
        for size in ((50, 70), (33, 35), (20, 90))
    ]
    draws = np.random.default_rng(0).random((3, made.num_draws))
    boxes = made.boxes(image_sizes(images), draws)
    cut, sizes = made.crops(images, boxes), torch.from_numpy(boxes[:, 2:])
    expected = made.augment(images, draws)
    with EmulatedDevice():
        there = cut.to("cuda")
        made.finish(made.scale_crops(there, sizes, draws), draws)
        LOG.clear()
        out = made.finish(made.scale_crops(there, sizes, draws), draws)
        logged = list(LOG.waits)
        return {"waits": logged, "error": float((out.cpu() - expected).abs().max())}


def losses(*names):
    """The value of each loss on the device and on the CPU, or its error."""
    found = {}
    features = torch.nn.functional.normalize(torch.randn(24, 16))
    labels = torch.arange(6).repeat_interleave(4)
    logits = torch.randn(24, 6)
    for name in names:
        loss = make_loss(name, {}, None, {}, num_classes=6, embedding_size=16)
        torch.manual_seed(0)
        expected = float(loss(TermInput(features, logits, labels)))
        try:
            with EmulatedDevice():
                loss = loss.to("cuda")
                torch.manual_seed(0)
                there = TermInput(features.to("cuda"), logits.to("cuda"), labels.to("cuda"))
                found[name] = [expected, float(loss(there).cpu())]
        except Exception as error:
            found[name] = str(error)
    return found


def retrieval():
    """Scores on the device and on the CPU: with ties, a gallery, little memory, one vector."""
    generator = torch.Generator().manual_seed(0)
    x = torch.nn.functional.normalize(torch.randn(600, 16, generator=generator))
    x[100:120], x[7] = x[:20].clone(), 0
    y = torch.randint(0, 60, (600,), generator=generator)
    gallery = {"gallery": x[::2], "gallery_labels": y[::2]}
    cases = {
        "ties": (x, y, {}),
        "gallery": (x, y, gallery),
        "little memory": (x, y, {"ks": (1, 50), "memory_budget": 2**16}),
        "collapsed": (torch.ones(600, 16), y, {}),
    }
    found = {}
    for name, (vectors, labels, options) in cases.items():
        expected = retrieval_metrics(vectors, labels, **options)
        with EmulatedDevice():
            LOG.clear()
            scores = retrieval_metrics(vectors, labels, **options, device="cuda")
            found[name] = [expected, scores, LOG.operations["aten.mm"]]
    return found


def scores(*options):
    """R@1 of a training whose descriptors are ranked where `options` say, and products there."""
    config, seen = parse_config(None, [*OPTIONS, *options]), []
    real = score_module.retrieval_metrics

    def counted(*args, **kwargs):
        LOG.clear()
        result = real(*args, **kwargs)
        seen.append(LOG.operations["aten.mm"])
        return result

    score_module.retrieval_metrics = counted
    with tempfile.TemporaryDirectory() as folder, EmulatedDevice():
        summary = run.train(config, Path(folder) / "run", Console(quiet=True)).read_summary()
    return {"R@1": summary["R@1"], "MAP@R": summary["MAP@R"], "products": seen}


if __name__ == "__main__":
    result = globals()[sys.argv[1]](*sys.argv[2:])
    sys.stdout.write(json.dumps(result) + "\n")
