"""Number formats and devices, as the configuration names them."""

from __future__ import annotations

from typing import Any

import torch

from ibc_pyg.config import TrainConfig
from ibc_pyg.errors import ConfigError


def check_device(train: TrainConfig, *, processes: int = 1) -> None:
    """Refuse a device that is not there.

    Raises:
        ConfigError: Naming the field.
    """
    if not train.device.startswith("cuda"):
        return
    if not torch.cuda.is_available():
        raise ConfigError(
            f"train.device is {train.device}, but torch sees no GPU; set it to auto or cpu"
        )
    index, count = torch.device(train.device).index, torch.cuda.device_count()
    if index is not None and index >= count:
        raise ConfigError(
            f"train.device is {train.device}, but torch sees {count} GPU{'s' * (count > 1)}: "
            f"cuda:0{f' to cuda:{count - 1}' * (count > 1)}"
        )
    if index is not None and processes > 1:
        raise ConfigError(
            f"train.device is {train.device}, but there are {processes} processes, each with a GPU "
            "of its own; set it to cuda"
        )


def check_scaling(train: TrainConfig) -> None:
    """Refuse to train in float16 without a GPU.

    Raises:
        ConfigError: Naming the field.
    """
    if train.precision == "16-mixed" and (train.device == "cpu" or not torch.cuda.is_available()):
        raise ConfigError(
            "train.precision is 16-mixed, which needs a GPU, and there is none in use; "
            "set it to bf16-mixed or 32-true"
        )


def fabric_devices(device: str) -> dict[str, Any]:
    """Return Fabric's `accelerator` and `devices` for one process."""
    if device.startswith("cuda:"):
        return {"accelerator": "cuda", "devices": [torch.device(device).index]}
    return {"accelerator": device, "devices": 1}


def fabric_precision(precision: str) -> str:
    """Return what Fabric calls a precision."""
    return "32-true" if precision == "tf32" else precision


def set_multiplication(precision: str, device: torch.device) -> None:
    """Say how a GPU multiplies float32 matrices and convolves: in TensorFloat-32, or exactly.

    torch would convolve in TensorFloat-32 unless told otherwise. On a CPU nothing is changed:
    there `high` may stand for products of bfloat16 numbers.
    """
    if device.type == "cuda":
        fast = precision == "tf32"
        torch.set_float32_matmul_precision("high" if fast else "highest")
        torch.backends.cudnn.allow_tf32 = fast
