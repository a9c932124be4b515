"""An emulated CUDA device: values are on the CPU, rules and waits are those of CUDA.

It shows whether tensors and generators of a computation are on the same device, and where the host
waits for the device. It says nothing of kernels, speed, Triton or NCCL.

- `tensor`: tensors that report the device `cuda:0`.
- `dispatch`: a context in which operations on them run on the CPU.
- `rules`: operations that CUDA refuses, and those that wait.
- `log`: waits, the lines that caused them, and counts of operations.
- `cuda`, `generators`, `pinned_memory`: stand-ins for functions of PyTorch that ask the driver.

PyTorch is patched for the whole process, so each case runs in a process of its own. It must be
built for CUDA, and the libraries of `shim.cpp` and `stub.cpp` must be loaded before it;
`tests/gpu/test_emulated.py` does so.
"""

import ctypes

import torch
from torch import Tensor
from torch.optim.optimizer import _foreach_supported_types as optimizer_types
from torch.utils._foreach_utils import _foreach_supported_types as foreach_types

from tests.gpu.emulated.cuda import patch_torch_cuda
from tests.gpu.emulated.pinned_memory import pin_memory
from tests.gpu.emulated.tensor import DeviceTensor


def emulate_device() -> None:
    """Let PyTorch take the emulated device for a GPU, for the rest of the process."""
    # Without GPUs, this chooses a device guard that does nothing; it must come before the count.
    torch._C._ensureCUDADeviceGuardSet()
    # The backward pass asks for devices that do not exist; so many are accepted.
    ctypes.CDLL(None).emu_set_count(64)
    patch_torch_cuda()
    Tensor.pin_memory = pin_memory
    # `torch.tensor(..., device="cuda")` becomes a copy from the CPU, which is dispatched.
    torch._C._set_only_lift_cpu_tensors(True)
    # `Module.to` cannot assign a `DeviceTensor` to the data of a parameter on the CPU.
    torch.__future__.set_swap_module_params_on_conversion(True)
    # Optimisers and norms process lists of tensors at once only for these types.
    optimizer_types.append(DeviceTensor)
    foreach_types.append(DeviceTensor)
    # Its batch norm is an operation of its own, without a kernel on a CPU.
    torch.backends.cudnn.enabled = False
    # The choice between implementations of attention would ask the driver.
    torch.backends.cuda.enable_flash_sdp(False)
    torch.backends.cuda.enable_mem_efficient_sdp(False)
