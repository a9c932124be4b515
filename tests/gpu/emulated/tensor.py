"""Tensors of the emulated device, whose values are on the CPU."""

from typing import Any

import torch
from torch import Tensor

from tests.gpu.emulated.log import LOG

DEVICE = torch.device("cuda", 0)


class DeviceTensor(Tensor):
    """A tensor that reports the device `cuda:0` and keeps its values in a tensor on the CPU.

    Args:
        values: A tensor on the CPU; the new tensor shares its memory.
    """

    values: Tensor

    @staticmethod
    def __new__(cls, values: Tensor) -> "DeviceTensor":
        made = Tensor._make_wrapper_subclass(
            cls,
            values.size(),
            strides=values.stride(),
            storage_offset=values.storage_offset(),
            dtype=values.dtype,
            layout=values.layout,
            device=DEVICE,
        )
        made.values = values
        return made

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, operation: Any, *_: Any) -> Any:
        raise RuntimeError(f"{operation} of a tensor on the device outside `EmulatedDevice`")

    def __repr__(self) -> str:
        return f"DeviceTensor({self.values})"

    def tolist(self) -> Any:
        """Copy the values to the host; PyTorch's function refuses subclasses."""
        LOG.add_wait("copy to the host", "tolist")
        return self.values.tolist()


def is_cuda(device: torch.device | str | None) -> bool:
    """Tell whether a device, if any is given, is a GPU."""
    return device is not None and torch.device(device).type == "cuda"
