"""Device, precision and processes of a run, by Lightning Fabric; averaging of gradients."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.strategies.ddp import DDPStrategy
from torch import Tensor, nn
from torch import distributed as dist

from ibc_pyg.config import TrainConfig
from ibc_pyg.errors import ConfigError, RunError
from ibc_pyg.parallel.collectives import control_group, mean_over_processes, world_size
from ibc_pyg.parallel.launch import Launch
from ibc_pyg.parallel.precision import (
    check_device,
    fabric_devices,
    fabric_precision,
    set_multiplication,
)
from ibc_pyg.parallel.processes import is_distributed, on_main_only

# Parts of the messages of gloo and NCCL after the loss of a process.
_GONE = ("closed by peer", "reset by peer", "Broken pipe", "remote process exited", "NCCL", "gloo")


class OneGraphStrategy(DDPStrategy):
    """DDP strategy without DistributedDataParallel: `average_gradients` averages the gradients.

    DistributedDataParallel requires a gradient of every parameter in every step, ignores the
    parameters of the loss, and interleaves its collectives with those of the graph's backward pass.
    """

    def setup_module(self, module: nn.Module) -> nn.Module:  # type: ignore[override]
        """Return the module unchanged."""
        return module


def make_fabric(train: TrainConfig) -> Fabric:
    """Return the Fabric of a configuration: device, precision and processes.

    Raises:
        ConfigError: If the device is unavailable.
    """
    check_device(train, processes=Launch.from_environment().world_size)
    if train.threads:
        torch.set_num_threads(train.threads)
    fabric = start_fabric(train.device, fabric_precision(train.precision))
    set_multiplication(train.precision, fabric.device)
    return fabric


def start_fabric(device: str, precision: Any) -> Fabric:
    """Initialise the process group, or a single process.

    Args:
        device: auto, cpu or cuda.
        precision: Precision by Lightning's name.

    Raises:
        ConfigError: If a node has fewer GPUs than processes.
    """
    logging.getLogger("lightning.fabric").setLevel(logging.WARNING)
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    launch = Launch.from_environment()
    if launch.world_size == 1 or on_main_only():
        # Lightning would count torchrun's processes, though only the main one runs this block.
        environment = LightningEnvironment() if on_main_only() else None
        fabric = Fabric(**fabric_devices(device), precision=precision, plugins=environment)
        fabric.launch()
        return fabric
    on_gpu = device == "cuda" or (device == "auto" and torch.cuda.is_available())
    if on_gpu and torch.cuda.device_count() < launch.local_size:
        raise ConfigError(
            f"train.device: {launch.local_size} processes, but torch sees "
            f"{torch.cuda.device_count()} GPUs; start as many processes as GPUs "
            "(--nproc_per_node), or set train.device = cpu"
        )
    strategy = OneGraphStrategy(process_group_backend="nccl" if on_gpu else "gloo")
    fabric = Fabric(
        accelerator="cuda" if on_gpu else "cpu",
        devices=launch.local_size,
        num_nodes=launch.nodes,
        strategy=strategy,
        precision=precision,
    )
    fabric.launch()
    control_group()
    return fabric


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replace each gradient by its mean over the processes, in one all-reduce for each dtype.

    The same parameters must have a gradient in every process.
    """
    if not is_distributed():
        return
    for gradients in _by_type([each.grad for each in parameters if each.grad is not None]):
        joined = _flat(gradients)
        dist.all_reduce(joined)
        _put_back(joined / world_size(), gradients)


def share_tensors(tensors: Iterable[Tensor]) -> None:
    """Broadcast the values of the main process to all processes."""
    if not is_distributed():
        return
    for same in _by_type([each.detach() for each in tensors]):
        joined = _flat(same)
        dist.broadcast(joined, 0)
        _put_back(joined, same)


def mean_values(values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the means of scalars over the processes, without gradient, by one all-reduce."""
    values = {name: value.detach() for name, value in values.items()}
    if not is_distributed() or not values:
        return values
    joined = torch.stack([value.float() for value in values.values()])  # [V]
    return dict(zip(values, mean_over_processes(joined).unbind(), strict=True))


@contextmanager
def explain_lost_process() -> Iterator[None]:
    """Raise a one-line error if a collective fails because another process has ended.

    Raises:
        RunError: In place of the backend's error.
    """
    try:
        yield
    except RuntimeError as error:
        if world_size() == 1 or not any(word in str(error) for word in _GONE):
            raise
        raise RunError(
            "another process of this run has ended (torchrun reports which); resume from the last "
            "checkpoint with train --resume"
        ) from error


def _by_type(tensors: Sequence[Tensor]) -> list[list[Tensor]]:
    groups: dict[tuple[torch.dtype, torch.device], list[Tensor]] = {}
    for tensor in tensors:
        groups.setdefault((tensor.dtype, tensor.device), []).append(tensor)
    return list(groups.values())


def _flat(tensors: Sequence[Tensor]) -> Tensor:
    return torch.cat([tensor.reshape(-1) for tensor in tensors])  # [S]


def _put_back(joined: Tensor, tensors: Sequence[Tensor]) -> None:
    parts = torch.split(joined, [tensor.numel() for tensor in tensors])
    for tensor, part in zip(tensors, parts, strict=True):
        tensor.copy_(part.view(tensor.shape))
