"""What only a GPU can show; `make gpu` runs it."""

import io
import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from ibc_pyg.data.images.decode import decode_jpegs
from ibc_pyg.data.loading.loader import train_loader
from ibc_pyg.data.transforms import transform_preset
from ibc_pyg.data.transforms.base import image_sizes
from ibc_pyg.losses.factory import make_loss
from ibc_pyg.losses.metric_learning import loss_names
from ibc_pyg.losses.term import TermInput
from ibc_pyg.metrics import retrieval_metrics
from ibc_pyg.nn.conv.factory import make_conv
from ibc_pyg.training.experiment import setup
from ibc_pyg.training.run import resume, train
from ibc_pyg.training.step import train_step
from tests.helpers.digits_run import quick, quiet

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU"),
]

TOLERANCE = {"32-true": 1e-4, "tf32": 1e-2, "bf16-mixed": 3e-2, "16-mixed": 3e-2}
GRAPHS = {"complete": "{}", "knn": "{k: 5}"}


def on(device, *fields):
    return quick("--train.device", device, "--data.workers", "0", *fields)


def batches(experiment):
    loading = experiment.data.loading(experiment.fabric.device)
    data = experiment.data
    return train_loader(data.train_table, experiment.sampler, data.transform, loading, seed=0)


def steps(config, count):
    """Losses of the first steps, and the experiment."""
    experiment = setup(config, quiet())
    experiment.step_model.train()
    losses = []
    for _, batch in zip(range(count), batches(experiment), strict=False):
        losses.append(train_step(experiment, batch)["train/loss"])
    return [float(each) for each in losses], experiment


@pytest.mark.parametrize("precision", TOLERANCE)
@pytest.mark.parametrize("graph", GRAPHS)
@pytest.mark.parametrize(
    "conv", ["IntraBatchConv", "GATConv", "GATv2Conv", "TransformerConv", "SAGEConv"]
)
def test_a_step_equals_the_cpu(conv, graph, precision):
    fields = ["--model.conv", conv, "--model.graph", graph, "--model.graph_args", GRAPHS[graph]]
    fields += ["--model.mpn_args", "{dropout: 0.0}"] if conv == "IntraBatchConv" else []
    plain = ["--data.transform_args", "{image_size: 8, noise: 0.0}"]
    expected, _ = steps(on("cpu", *fields, *plain), 1)
    found, _ = steps(on("cuda", *fields, *plain, "--train.precision", precision), 1)
    assert found[0] == pytest.approx(expected[0], rel=TOLERANCE[precision])


@pytest.mark.parametrize("nodes", [1, 2, 54, 63, 4096])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_attention_is_finite_and_its_memory_linear(nodes, dtype):
    conv = make_conv("IntraBatchConv", 512, heads=2).cuda()
    x = torch.randn(nodes, 512, device="cuda", requires_grad=True)
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    with torch.autocast("cuda", dtype, enabled=dtype != torch.float32):
        conv(x).float().square().mean().backward()
    assert bool(torch.isfinite(x.grad).all())
    # 4096 x 4096 weights of two heads alone would be 128 MiB in float32.
    assert torch.cuda.max_memory_allocated() - before < 2**24 + nodes * 512 * 4 * 40


def test_loader_and_step_do_not_wait():
    experiment = setup(on("cuda"), quiet())
    experiment.step_model.train()
    waiting = iter(batches(experiment))
    for _ in range(2):
        train_step(experiment, next(waiting))
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(5):
            train_step(experiment, next(waiting))
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("name", ["FocalLoss", "CenterLoss", "BatchHardTripletLoss"] + [
    name for name in loss_names() if name != "RankedListLoss"
])  # fmt: skip
def test_losses_are_finite(name):
    loss = make_loss(name, {}, None, {}, num_classes=6, embedding_size=16).cuda()
    labels = torch.arange(6, device="cuda").repeat_interleave(4)
    x = torch.randn(24, 16, device="cuda", requires_grad=True)
    value = loss(TermInput(x, torch.randn(24, 6, device="cuda"), labels))
    value.backward()
    assert bool(torch.isfinite(value))


@pytest.mark.parametrize(
    "miner",
    ["MultiSimilarityMiner", "TripletMarginMiner", "BatchHardMiner", "BatchEasyHardMiner",
     "DistanceWeightedMiner", "AngularMiner", "PairMarginMiner", "UniformHistogramMiner"],
)  # fmt: skip
def test_miners_are_finite(miner):
    loss = make_loss("TripletMarginLoss", {}, miner, {}, num_classes=6, embedding_size=16).cuda()
    labels = torch.arange(6, device="cuda").repeat_interleave(4)
    x = torch.randn(24, 16, device="cuda", requires_grad=True)
    assert bool(torch.isfinite(loss(TermInput(x, torch.randn(24, 6, device="cuda"), labels))))


def test_memory_does_not_grow():
    experiment = setup(on("cuda"), quiet())
    experiment.step_model.train()
    used, done = {}, 0
    while done < 60:
        for batch in batches(experiment):
            train_step(experiment, batch)
            done += 1
            used[done] = torch.cuda.memory_allocated()
    assert used[60] == used[20]


def test_a_resumed_run_in_16_bits_ends_the_same(tmp_path):
    fields = ["--train.precision", "16-mixed", "--train.checkpoint_every", "1"]
    whole = train(on("cuda", *fields), tmp_path / "whole", quiet())
    short = train(on("cuda", *fields), tmp_path / "short", quiet())
    short.summary.unlink()
    for path in sorted(short.path.glob("checkpoints/*"))[-1:]:
        path.unlink()
    resume(short.path, quiet())
    losses = [run.read_history()[-1]["train/loss"] for run in (whole, short)]
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)


def test_metrics_are_exactly_those_of_the_cpu_under_tf32():
    generator = torch.Generator().manual_seed(0)
    x = F.normalize(torch.randn(5924, 64, generator=generator))
    x[1000:1200] = x[:200]
    labels = torch.randint(0, 100, (5924,), generator=generator)
    expected = retrieval_metrics(x, labels)
    torch.set_float32_matmul_precision("high")
    try:
        assert retrieval_metrics(x.cuda(), labels) == expected
    finally:
        torch.set_float32_matmul_precision("highest")


def test_crops_are_scaled_as_on_the_cpu_under_tf32():
    made = transform_preset("imagenet", scale_on_device=True)
    generator = torch.Generator().manual_seed(0)
    images = [
        torch.randint(0, 256, (3, *size), dtype=torch.uint8, generator=generator)
        for size in [(375, 500), (300, 400), (80, 90)] * 4
    ]
    draws = np.random.default_rng(0).random((len(images), made.num_draws))
    boxes = made.boxes(image_sizes(images), draws)
    crops, sizes = made.crops(images, boxes), torch.from_numpy(boxes[:, 2:])
    expected = made.scale_crops(crops, sizes, draws)
    torch.set_float32_matmul_precision("high")
    try:
        found = made.scale_crops(crops.cuda(), sizes, draws).cpu()
    finally:
        torch.set_float32_matmul_precision("highest")
    assert (found.int() - expected.int()).abs().max() <= 1


def test_jpegs_are_decoded_nearly_as_on_the_cpu():
    y, x = np.mgrid[:375, :500]
    smooth = np.stack([y * 255 // 375, x * 255 // 500, (x + y) * 255 // 875], -1).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(smooth).save(buffer, "JPEG", quality=90)
    data = torch.frombuffer(bytearray(buffer.getvalue()), dtype=torch.uint8)
    (expected,) = decode_jpegs([data], torch.device("cpu"))
    (found,) = decode_jpegs([data], torch.device("cuda"))
    assert found.is_cuda
    assert found.shape == expected.shape
    assert (found.cpu().int() - expected.int()).abs().max() <= 4


@pytest.mark.parametrize("name", ["Adam", "AdamW", "SGD"])
def test_a_fused_step_is_that_of_single_tensors(name):
    optimizer = ["--train.optimizer", name]
    plain = ["--train.optimizer_args", "{fused: false, foreach: false}"]
    still = ["--data.transform_args", "{image_size: 8, noise: 0.0}"]
    fused, experiment = steps(on("cuda", *optimizer, *still), 5)
    assert all(group["fused"] for group in experiment.optimizer.param_groups)
    single, _ = steps(on("cuda", *optimizer, *plain, *still), 5)
    assert fused == pytest.approx(single, rel=1e-3)


def test_k_means_does_not_abort():
    code = (
        "import json, torch\n"
        "from ibc_pyg.metrics import clustering_metrics\n"
        "g = torch.Generator().manual_seed(0)\n"
        "y = torch.arange(50).repeat_interleave(40)\n"
        "x = torch.randn(50, 32, generator=g)[y] + 0.8 * torch.randn(2000, 32, generator=g)\n"
        "print(json.dumps(clustering_metrics(x, y)))\n"
    )
    found = []
    for gpus in (None, ""):
        environment = (
            dict(os.environ) if gpus is None else os.environ | {"CUDA_VISIBLE_DEVICES": ""}
        )
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            env=environment,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-2000:]
        found.append(json.loads(done.stdout.splitlines()[-1]))
    assert found[0]["NMI"] == pytest.approx(found[1]["NMI"], abs=0.01)
    assert found[1]["kmeans_on_gpu"] == 0


@pytest.mark.parametrize("conv", ["IntraBatchConv", "GATConv", "GATv2Conv", "TransformerConv"])
def test_batch_sizes_compile_at_most_twice(conv):
    torch._dynamo.reset()
    from torch._dynamo.testing import CompileCounter

    counter = CompileCounter()
    layer = torch.compile(make_conv(conv, 64, heads=2).cuda(), backend=counter)
    for nodes in (54, 48, 27):
        layer(torch.randn(nodes, 64, device="cuda"))
    assert counter.frame_count <= 2


@pytest.mark.parametrize("last", [True, False])
def test_images_and_weights_are_in_the_memory_format_that_is_set(last):
    config = on(
        "cuda", "--train.channels_last", str(last).lower(), "--model.backbone_args", "{width: 8}"
    )
    experiment = setup(config, quiet())
    layout = torch.channels_last if last else torch.contiguous_format
    images = next(iter(batches(experiment))).images
    assert images.is_contiguous(memory_format=layout)
    for weight in experiment.model.backbone.parameters():
        if weight.dim() == 4:
            assert weight.is_contiguous(memory_format=layout)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="there are not two GPUs")
def test_two_gpus_equal_one(tmp_path):
    losses = []
    for processes in (1, 2):
        out = tmp_path / str(processes)
        fields = ["--train.device", "cuda", "--track.report", "false", "--train.epochs", "1"]
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
        command += [
            "--nproc_per_node",
            str(processes),
            "run.py",
            "train",
            "experiments/glyphs.yaml",
        ]
        subprocess.run([*command, "--out", str(out), *fields], check=True, timeout=300)
        lines = (out / "metrics.jsonl").read_text().splitlines()
        losses.append(json.loads(lines[0])["train/loss"])
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
