"""Generators of the emulated device: CPU generators that are known to belong to it."""

from types import ModuleType
from typing import Any

import torch

from tests.gpu.emulated.tensor import is_cuda

_generators: dict[int, torch.Generator] = {}
"""Generators of the device by their address, since dispatch wraps them in new Python objects."""


def is_device_generator(generator: torch.Generator) -> bool:
    """Tell whether a generator was made for the emulated device."""
    return generator._cdata in _generators


def make_generator(device: torch.device | str = "cpu") -> torch.Generator:
    """Make a generator; `torch.Generator` itself would ask the driver for one on a GPU."""
    generator = torch.Generator()
    if is_cuda(device):
        _generators[generator._cdata] = generator
    return generator


class _Torch:
    """The module `torch` with another `Generator`."""

    Generator = staticmethod(make_generator)

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)


def patch_generators(module: ModuleType) -> None:
    """Let a module that imports `torch` make generators on the emulated device.

    `torch.Generator` cannot be replaced for all modules: PyTorch uses it as a type.
    """
    module.torch = _Torch()
