"""Where descriptors are ranked; the device itself is emulated in tests/gpu."""

import logging

import numpy as np
import torch

from ibc_pyg.config import EvaluateConfig
from ibc_pyg.evaluation import scores
from ibc_pyg.inference.extract import Descriptors, EvalDescriptors
from ibc_pyg.metrics import protocol_for


def descriptors(count=40):
    generator = torch.Generator().manual_seed(0)
    vectors = torch.nn.functional.normalize(torch.randn(count, 8, generator=generator))
    labels = torch.arange(count) // 4
    part = Descriptors(np.arange(count), vectors, labels)
    return EvalDescriptors(part, None, protocol_for("cub"))


def test_a_gpu_without_memory_leaves_the_ranking_to_the_cpu(monkeypatch, caplog):
    real, asked = scores.retrieval_metrics, []

    def full(*args, device, **kwargs):
        asked.append(str(device))
        if device.type == "cuda":
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(*args, device=device, **kwargs)

    expected = scores.score_retrieval(descriptors(), EvaluateConfig())
    monkeypatch.setattr(scores, "retrieval_metrics", full)
    with caplog.at_level(logging.WARNING):
        found = scores.score_retrieval(
            descriptors(), EvaluateConfig(), device=torch.device("cuda", 0)
        )
    assert (found, asked) == (expected, ["cuda:0", "cpu"])
    assert [record.getMessage() for record in caplog.records] == [
        "the GPU has too little free memory to rank descriptors; the CPU does"
    ]
