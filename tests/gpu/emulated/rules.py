"""Rules of CUDA for the arguments of an operation, and operations that wait for the device."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.utils._pytree import tree_leaves

from tests.gpu.emulated.generators import is_device_generator
from tests.gpu.emulated.log import LOG, place
from tests.gpu.emulated.pinned_memory import is_pinned
from tests.gpu.emulated.tensor import is_cuda

aten = torch.ops.aten

SYNCHRONISING = frozenset(
    {
        aten._local_scalar_dense.default,
        aten._unique2.default,
        aten.bincount.default,
        aten.equal.default,
        aten.masked_select.default,
        aten.multinomial.default,
        aten.nonzero.default,
        aten.repeat_interleave.Tensor,
        aten.unique_consecutive.default,
        aten.unique_dim.default,
    }
)
"""Operations whose result, or the size of whose result, the host reads."""

INDEXING = frozenset(
    {
        aten.index.Tensor,
        aten.index_put.default,
        aten.index_put_.default,
        aten._index_put_impl_.default,
    }
)
"""Operations that take a list of indices."""

WITHOUT_CPU_SCALARS = frozenset(
    {
        aten._foreach_norm,
        aten.addmm,
        aten.bmm,
        aten.cat,
        aten.dot,
        aten.gather,
        aten.index_add,
        aten.index_select,
        aten.mm,
        aten.mv,
        aten.scatter,
        aten.scatter_add,
        aten.stack,
    }
)
"""Operations that refuse CPU tensors without dimensions, which arithmetic accepts."""


class DeviceError(RuntimeError):
    """An error that CUDA would raise for tensors or generators of different devices."""

    def __init__(self, operation: object, message: str) -> None:
        super().__init__(f"{operation}: {message} @ {place()}")


def check(operation: OpOverload, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    """Raise the error that an operation would raise on CUDA; log its waits.

    Args:
        operation: An operation of PyTorch with a tensor or a result on the device.
        args: Its positional arguments.
        kwargs: Its named arguments.
    """
    leaves = tree_leaves((args, kwargs))
    if operation is aten._to_copy.default:
        _log_conversion(operation, args[0], kwargs)
    elif operation is aten.copy_.default:
        if args[0].is_cuda != args[1].is_cuda:
            LOG.add_wait("copy between host and device", operation)
    elif operation in INDEXING:
        _check_indices(operation, args)
    else:
        _check_devices(operation, [leaf for leaf in leaves if isinstance(leaf, Tensor)])
    for leaf in leaves:
        if isinstance(leaf, torch.Generator) and not is_device_generator(leaf):
            raise DeviceError(operation, "expected a 'cuda' generator but found a 'cpu' one")
    if operation in SYNCHRONISING:
        LOG.add_wait("result on the host", operation)


def _log_conversion(operation: OpOverload, source: Tensor, kwargs: Mapping[str, Any]) -> None:
    device = kwargs.get("device")
    to_device = source.is_cuda if device is None else is_cuda(device)
    if source.is_cuda == to_device:
        return
    # PyTorch itself allocates pinned memory for the result of a copy to the host.
    pinned = source.is_cuda or is_pinned(source)
    if not (kwargs.get("non_blocking") and pinned):
        LOG.add_wait("copy to the device" if to_device else "copy to the host", operation)


def _check_indices(operation: OpOverload, args: Sequence[Any]) -> None:
    """Check `args`: the tensor, its indices and, where some are assigned, the values."""
    indexed, values = args[0], args[2:3]
    for index in args[1]:
        if index is None:
            continue
        if index.is_cuda and not indexed.is_cuda:
            raise DeviceError(operation, "the index is on the device, the indexed tensor is not")
        if indexed.is_cuda and not index.is_cuda:
            LOG.add_wait("copy of an index to the device", operation)
        if index.dtype in (torch.bool, torch.uint8):
            LOG.add_wait("number of true values", operation)
    _check_devices(operation, [indexed, *values])


def _check_devices(operation: OpOverload, tensors: Sequence[Tensor]) -> None:
    on_host = [tensor for tensor in tensors if not tensor.is_cuda]
    if len(on_host) in (0, len(tensors)):
        return
    shapes = [tuple(tensor.shape) for tensor in on_host]
    if any(shapes) or operation.overloadpacket in WITHOUT_CPU_SCALARS:
        raise DeviceError(operation, f"expected all tensors on the device, found {shapes} on a CPU")
