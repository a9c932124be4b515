"""Precision and device settings of the configuration."""

from __future__ import annotations

from typing import Any

import torch
from lightning_fabric import Fabric

from ibc_pyg.config import TrainConfig
from ibc_pyg.errors import ConfigError


def check_device(train: TrainConfig, *, processes: int = 1) -> None:
    """Check that the device is available.

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
    """Check that float16 training has a GPU.

    Raises:
        ConfigError: Naming the field.
    """
    if train.precision == "16-mixed" and (train.device == "cpu" or not torch.cuda.is_available()):
        raise ConfigError(
            "train.precision is 16-mixed, which needs a GPU, and none is used; "
            "set it to bf16-mixed or 32-true"
        )


def fabric_devices(device: str) -> dict[str, Any]:
    """Return Fabric's `accelerator` and `devices` for one process."""
    if device.startswith("cuda:"):
        return {"accelerator": "cuda", "devices": [torch.device(device).index]}
    return {"accelerator": device, "devices": 1}


def fabric_precision(precision: str) -> str:
    """Return Fabric's name of a precision."""
    return "32-true" if precision == "tf32" else precision


def gradient_scaler(fabric: Fabric) -> Any:
    """Return the `GradScaler` of 16-bit training; None if gradients are not scaled."""
    return getattr(fabric.strategy.precision, "scaler", None)


def set_multiplication(precision: str, device: torch.device) -> None:
    """Set whether a GPU multiplies float32 matrices and convolves in TensorFloat-32 or exactly.

    By default, torch convolves in TensorFloat-32. On a CPU nothing is changed, since `high` may
    allow products in bfloat16 there.
    """
    if device.type == "cuda":
        fast = precision == "tf32"
        torch.set_float32_matmul_precision("high" if fast else "highest")
        torch.backends.cudnn.allow_tf32 = fast


def set_convolution(train: TrainConfig, device: torch.device) -> None:
    """Set whether cuDNN measures its convolution algorithms; on a CPU nothing is changed.

    For training, whose batches have one shape: each new shape is measured once.
    """
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = train.cudnn_benchmark
