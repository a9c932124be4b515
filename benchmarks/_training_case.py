"""One training, with the time of its parts; called by training.py.

`fit` of the package runs with its step function wrapped. After each of its steps the bare loop
takes one on the same batch, so that noise of the machine affects both.
"""

from __future__ import annotations

import copy
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
import torch.nn.functional as F
from _timing import synchronise, time_call
from PIL import Image
from rich.console import Console
from torch import Tensor, nn

from ibc_pyg.builders.optimization.optimizer import build_optimizer
from ibc_pyg.config import Config
from ibc_pyg.config.files.yaml_file import config_to_yaml, parse_config
from ibc_pyg.data.loading.batch import Batch
from ibc_pyg.nn.model import IntraBatchModel, ModelOutput
from ibc_pyg.runs.run_folder import RunFolder
from ibc_pyg.track import JsonlTracker, MultiTracker
from ibc_pyg.training import fit as fit_module
from ibc_pyg.training import step as step_module
from ibc_pyg.training.experiment import Experiment, setup
from ibc_pyg.training.training import Training

EXPERIMENTS = Path(__file__).resolve().parents[1] / "experiments"
COMMON = [
    "--select", "last", "--train.epochs", "100000", "--train.evaluate_every", "0",
    "--train.checkpoint_every", "100000", "--train.lr_milestones", "[]", "--train.lr", "1e-4",
]  # fmt: skip
# The smallest is for a quick look and for the tests.
CASES: dict[str, tuple[str | None, list[str]]] = {
    "digits": (None, [
        "--data.name", "digits", "--data.classes_per_batch", "4", "--data.images_per_class", "8",
        "--data.transform", "glyphs", "--data.transform_args", "{image_size: 8}",
        "--model.backbone_args", "{width: 8}", "--model.embedding_dim", "32", "--model.heads", "2",
    ]),
    "glyphs": ("glyphs.yaml", []),
    "resnet50": ("cub.yaml", [
        "--data.name", "folder", "--data.transform_args", "{image_size: 224}",
        "--model.weights", "null", "--model.backbone_args", "{pooling: max}",
    ]),
}  # fmt: skip


class EnoughError(Exception):
    """As many steps as were asked for have been taken."""


def config_of(case: str, pictures: Path, options: list[str]) -> Config:
    name, more = CASES[case]
    root = ["--data.root", str(pictures)] if "folder" in more else []
    file = None if name is None else EXPERIMENTS / name
    return parse_config(file, [*COMMON, *more, *root, *options])


def make_pictures(root: Path, *, classes: int = 12, images: int = 30) -> None:
    """Write smooth noise as JPEG files of the size that photographs of CUB have."""
    rng = np.random.default_rng(0)
    for part, count in (("train", classes), ("test", 2)):
        for label in range(count):
            folder = root / part / f"{part}_{label}"
            folder.mkdir(parents=True)
            for number in range(images if part == "train" else 2):
                noise = rng.integers(0, 256, (24, 32, 3), dtype=np.uint8)
                picture = Image.fromarray(noise).resize((500, 375), Image.Resampling.BICUBIC)
                picture.save(folder / f"{number}.jpg", quality=90)


class Bare:
    """The backbone with a linear classifier and cross-entropy in a minimal loop of its own."""

    def __init__(self, experiment: Experiment) -> None:
        config = experiment.config
        classes = experiment.data.splits.num_classes
        head = nn.Linear(config.model.embedding_dim, classes)
        backbone = copy.deepcopy(experiment.model.backbone)
        self.fabric = experiment.fabric
        self.model: nn.Module = nn.Sequential(backbone, head).to(self.fabric.device).train()
        # The same optimiser, its arguments included.
        whole = IntraBatchModel(backbone, None, [], head)
        self.optimizer = build_optimizer(config.train, whole, device=self.fabric.device)
        if config.train.compile:
            self.model = torch.compile(self.model)
        mixed = config.train.precision == "16-mixed"
        self.scaler = torch.amp.GradScaler(self.fabric.device.type, enabled=mixed)

    def __call__(self, images: Tensor, labels: Tensor) -> None:
        self.optimizer.zero_grad()
        with self.fabric.autocast():
            loss = F.cross_entropy(self.model(images), labels)
        self.scaler.scale(loss).backward()
        self.scaler.step(self.optimizer)
        self.scaler.update()


class Stopwatch:
    """Wraps functions of the training loop and keeps their times, in seconds a step."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.spent: dict[str, float] = {}

    def timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            synchronise(self.device)
            began = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                synchronise(self.device)
                self.add(name, time.perf_counter() - began)

        return wrapped

    def add(self, name: str, seconds: float) -> None:
        self.spent[name] = self.spent.get(name, 0.0) + seconds

    def take(self) -> dict[str, float]:
        spent, self.spent = self.spent, {}
        return spent


@contextmanager
def folder_of(experiment: Experiment) -> Iterator[tuple[RunFolder, MultiTracker]]:
    with tempfile.TemporaryDirectory() as place:
        run = RunFolder.create(Path(place) / "run", config_yaml=config_to_yaml(experiment.config))
        tracker = MultiTracker([JsonlTracker(run.metrics)])
        try:
            yield run, tracker
        finally:
            tracker.close()


def fit_steps(experiment: Experiment, step: Callable[[Experiment, Batch], Any]) -> None:
    """Run the training loop with `step` as its step until that raises EnoughError."""
    quiet = Console(quiet=True)
    with (
        folder_of(experiment) as (run, tracker),
        mock.patch.object(fit_module, "train_step", step),
    ):
        try:
            fit_module.fit(Training(experiment, run, tracker, quiet))
        except EnoughError:
            return


def measure_parts(experiment: Experiment, repeats: int) -> dict[str, Any]:
    """Time steps of the training loop and of the bare loop in turn, and the loop's own work."""
    device = experiment.fabric.device
    bare, watch = Bare(experiment), Stopwatch(device)
    real_step = step_module.train_step
    rows: list[dict[str, float]] = []
    last: dict[str, Any] = {}
    ended = time.perf_counter()

    def step(experiment: Experiment, batch: Batch) -> Any:
        nonlocal ended
        gap = time.perf_counter() - ended
        # Looking inside costs waits on a GPU, so only every other step is looked into.
        look = device.type == "cpu" or len(rows) % 2 == 0
        with looked_into(experiment, watch) if look else nothing():
            began = time.perf_counter()
            values = real_step(experiment, batch)
            synchronise(device)
            taken = time.perf_counter() - began
        inside = watch.take()
        waited = inside.pop("load", 0.0)
        began = time.perf_counter()
        bare(batch.images, batch.labels)
        synchronise(device)
        other = time.perf_counter() - began
        rows.append({"step": taken, "bare": other, "between": gap - waited, "load": waited})
        if look:
            rows[-1]["inside"] = sum(inside.values())
        last["batch"] = batch
        if len(rows) > repeats * (1 if device.type == "cpu" else 2):
            raise EnoughError
        ended = time.perf_counter()
        return values

    make_loader = fit_module.train_loader

    def timed_loader(*args: Any, **kwargs: Any) -> Any:
        loader = make_loader(*args, **kwargs)
        batches = type(loader).__iter__

        class Timed(type(loader)):  # type: ignore[misc]
            def __iter__(self) -> Iterator[Batch]:
                iterator = batches(self)
                while True:
                    began = time.perf_counter()
                    try:
                        batch = next(iterator)
                    except StopIteration:
                        return
                    finally:
                        watch.add("load", time.perf_counter() - began)
                    yield batch

        loader.__class__ = Timed
        return loader

    with mock.patch.object(fit_module, "train_loader", timed_loader):
        fit_steps(experiment, step)
    kept = rows[2:] if len(rows) > 4 else rows[1:]
    names = ("step", "bare", "between", "load", "inside")
    found = {
        name: statistics.median(row[name] for row in kept if name in row)
        for name in names
        if any(name in row for row in kept)
    }
    return {**found, "repeats": len(kept), "batch": last["batch"]}


@contextmanager
def looked_into(experiment: Experiment, watch: Stopwatch) -> Iterator[None]:
    """Time the parts of a step besides forward, backward and optimiser."""
    assert experiment.statistics is not None
    with (
        mock.patch.object(
            experiment.statistics, "observe", watch.timed("look", experiment.statistics.observe)
        ),
        mock.patch.object(
            step_module, "_clip_gradients", watch.timed("norm", step_module._clip_gradients)
        ),
        mock.patch.object(
            step_module, "mean_values", watch.timed("values", step_module.mean_values)
        ),
    ):
        yield


@contextmanager
def nothing() -> Iterator[None]:
    yield


def measure_whole(experiment: Experiment, repeats: int) -> tuple[float, float | None]:
    """Return seconds a step of the loop, left alone and loading, and the GPU's utilisation."""
    marks: list[float] = []
    real_step = step_module.train_step

    def step(experiment: Experiment, batch: Batch) -> Any:
        marks.append(time.perf_counter())
        if len(marks) > repeats + 1:
            synchronise(experiment.fabric.device)
            marks[-1] = time.perf_counter()
            raise EnoughError
        return real_step(experiment, batch)

    with utilisation(experiment.fabric.device) as samples:
        fit_steps(experiment, step)
    # The first step warms up.
    seconds = (marks[-1] - marks[1]) / (len(marks) - 2)
    return seconds, statistics.mean(samples) if samples else None


@contextmanager
def utilisation(device: torch.device) -> Iterator[list[float]]:
    """Collect the per cent of time in which the GPU computes, as nvidia-smi says every 200 ms."""
    samples: list[float] = []
    if device.type != "cuda":
        yield samples
        return
    command = "nvidia-smi --query-gpu=utilization.gpu --format=csv,noheader,nounits -lms 200"
    try:
        process = subprocess.Popen(command.split(), stdout=subprocess.PIPE, text=True)
    except OSError:
        yield samples
        return
    try:
        yield samples
    finally:
        process.terminate()
        lines = (process.communicate()[0] or "").split()
        samples += [float(line) for line in lines if line.isdigit()]


def measure_head(experiment: Experiment, batch: Batch, repeats: int) -> float:
    """Return seconds of message passing, heads and loss: forward, backward, their optimiser."""
    fabric, device = experiment.fabric, experiment.fabric.device
    whole = copy.deepcopy(experiment.model).train()
    whole.backbone = nn.Identity()
    parameters = list(whole.parameters())
    optimizer = torch.optim.RAdam(parameters, lr=1e-4)
    with torch.no_grad(), fabric.autocast():
        embedding = experiment.model.backbone(batch.images).float()

    def call() -> None:
        x = embedding.detach().requires_grad_()
        optimizer.zero_grad()
        with fabric.autocast():
            output: ModelOutput = whole(x)
        experiment.loss(output, batch.labels, batch.images).total.backward()
        optimizer.step()

    return time_call(call, device, repeats=max(repeats, 10), seconds=5.0).median


def sampler_seconds(experiment: Experiment) -> float:
    """Return seconds that drawing the rows of a batch takes."""
    sampler = copy.deepcopy(experiment.sampler)
    sampler.seek(0, 0)
    began = time.perf_counter()
    count = sum(1 for _ in sampler)
    return (time.perf_counter() - began) / max(count, 1)


def measure(case: str, pictures: Path, options: list[str], repeats: int) -> dict[str, Any]:
    """Measure one training; seconds a step by name."""
    experiment = setup(config_of(case, pictures, options))
    found = measure_parts(experiment, repeats)
    batch = found.pop("batch")
    head = measure_head(experiment, batch, repeats)
    # A new iterator: the sampler starts again.
    experiment = setup(config_of(case, pictures, options))
    whole, busy = measure_whole(experiment, repeats)
    return {
        "case": case,
        "images": len(batch),
        "pixels": batch.images.shape[-1],
        "backbone": experiment.config.model.backbone,
        **found,
        "sampler": sampler_seconds(experiment),
        "head": head,
        "whole": whole,
        "utilisation": busy,
    }
