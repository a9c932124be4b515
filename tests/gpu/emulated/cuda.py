"""Stand-ins for the functions of `torch.cuda`."""

from collections.abc import Callable
from typing import Any

import torch

from tests.gpu.emulated.log import LOG


def patch_torch_cuda() -> None:
    """Replace the functions that ask the driver."""
    answers = {
        "_lazy_init": None,
        "device_count": 1,
        "get_device_capability": (9, 0),
        "get_device_name": "Emulated GPU",
        "get_rng_state": torch.zeros(16, dtype=torch.uint8),
        "is_available": True,
        "is_current_stream_capturing": False,
        "manual_seed_all": None,
        "max_memory_allocated": 0,
        "memory_allocated": 0,
        "set_device": None,
    }
    for name, answer in answers.items():
        setattr(torch.cuda, name, _always(answer))
    torch.cuda.synchronize = _synchronize


def _always(answer: Any) -> Callable[..., Any]:
    return lambda *args, **kwargs: answer


def _synchronize(device: object = None) -> None:
    LOG.add_wait("synchronize", "torch.cuda.synchronize")
