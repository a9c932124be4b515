"""Several processes under torchrun: how they start, and what keeps their weights the same."""

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
from ibc_pyg.parallel.collectives import mean_over_processes, world_size
from ibc_pyg.parallel.launch import Launch
from ibc_pyg.parallel.precision import (
    check_device,
    fabric_devices,
    fabric_precision,
    set_multiplication,
)
from ibc_pyg.parallel.processes import control_group, is_distributed, on_main_only

# What gloo and NCCL say when a peer is gone.
_GONE = ("closed by peer", "reset by peer", "Broken pipe", "remote process exited", "NCCL", "gloo")


class OneGraphStrategy(DDPStrategy):
    """Lightning's processes; gradients are averaged by `average_gradients`, not by hooks.

    DistributedDataParallel wants every parameter it was made with to have a gradient in every
    step, knows nothing of the loss's own parameters, and mixes its transfers with those of the
    graph's backward pass.
    """

    def setup_module(self, module: nn.Module) -> nn.Module:  # type: ignore[override]
        """Leave the module as it is."""
        return module


def make_fabric(train: TrainConfig) -> Fabric:
    """Return the device, precision and processes that a configuration names.

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
    """Start the processes' common work, or one process.

    Args:
        device: auto, cpu or cuda.
        precision: As Lightning names it.

    Raises:
        ConfigError: If a machine has fewer GPUs than processes.
    """
    logging.getLogger("lightning.fabric").setLevel(logging.WARNING)
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    launch = Launch.from_environment()
    if launch.world_size == 1 or on_main_only():
        # Lightning would count torchrun's processes, though the first one works alone.
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
    """Replace each gradient by its mean over the processes, in one transfer a type.

    The same parameters must have a gradient in every process.
    """
    if not is_distributed():
        return
    for gradients in _by_type([each.grad for each in parameters if each.grad is not None]):
        joined = _flat(gradients)
        dist.all_reduce(joined)
        _put_back(joined / world_size(), gradients)


def share_tensors(tensors: Iterable[Tensor]) -> None:
    """Give all processes the values of the first one."""
    if not is_distributed():
        return
    for same in _by_type([each.detach() for each in tensors]):
        joined = _flat(same)
        dist.broadcast(joined, 0)
        _put_back(joined, same)


def mean_values(values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the means of scalars over the processes, in one transfer; without gradient."""
    values = {name: value.detach() for name, value in values.items()}
    if not is_distributed() or not values:
        return values
    joined = torch.stack([value.float() for value in values.values()])  # [V]
    return dict(zip(values, mean_over_processes(joined).unbind(), strict=True))


@contextmanager
def explain_lost_process() -> Iterator[None]:
    """Tell in one line that another process has gone.

    Raises:
        RunError: Instead of what the transfer says of its sockets.
    """
    try:
        yield
    except RuntimeError as error:
        if world_size() == 1 or not any(word in str(error) for word in _GONE):
            raise
        raise RunError(
            "another process of this run has ended (torchrun says which), so this one ends too; "
            "go on from the last checkpoint with train --resume"
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
