"""Dispatch of operations to the emulated device."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from tests.gpu.emulated.log import LOG
from tests.gpu.emulated.rules import check
from tests.gpu.emulated.tensor import DeviceTensor, is_cuda


class EmulatedDevice(TorchDispatchMode):
    """Context in which tensors can be on the device; its operations follow the rules of CUDA."""

    def __torch_dispatch__(
        self,
        operation: OpOverload,
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Run an operation on the CPU; if it concerns the device, check and count it."""
        kwargs = kwargs or {}
        reads_device = any(isinstance(leaf, DeviceTensor) for leaf in tree_leaves((args, kwargs)))
        if not reads_device and not is_cuda(kwargs.get("device")):
            return operation(*args, **kwargs)
        check(operation, args, kwargs)
        LOG.operations[str(operation.overloadpacket)] += 1
        return _run(operation, args, kwargs)


def _run(operation: OpOverload, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """Run an operation on the values of tensors of the device."""
    owners: dict[int, DeviceTensor] = {}

    def unwrap(leaf: Any) -> Any:
        if not isinstance(leaf, DeviceTensor):
            return leaf
        owners[id(leaf.values)] = leaf
        return leaf.values

    def wrap(leaf: Any) -> Any:
        if not isinstance(leaf, Tensor):
            return leaf
        owner = owners.get(id(leaf))
        if owner is None:
            return DeviceTensor(leaf)
        # An operation in place returns its argument.
        if (owner.shape, owner.stride()) != (leaf.shape, leaf.stride()):
            raise NotImplementedError(f"{operation} changes the shape of its argument")
        return owner

    values = tree_map(unwrap, dict(kwargs))
    if values.get("device") is not None:
        values["device"] = torch.device("cpu")
    result = operation(*tree_map(unwrap, args), **values)
    return tree_map(wrap, result) if _returns_to_device(operation, args, kwargs) else result


def _returns_to_device(
    operation: OpOverload, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> bool:
    if kwargs.get("device") is not None:
        return is_cuda(kwargs["device"])
    return operation is not torch.ops.aten.copy_.default or args[0].is_cuda
