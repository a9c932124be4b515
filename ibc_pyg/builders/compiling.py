"""Compilation of the training step with torch.compile."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import nn
from torch._dynamo.exc import TorchDynamoException

from ibc_pyg.errors import ConfigError, RunError, first_line


class CannotCompileError(RunError):
    """The training step could not be compiled and was not executed."""


@contextmanager
def compiling() -> Iterator[None]:
    """Raise errors of the compiler, which occur in the first call of the step, in one line.

    Raises:
        CannotCompileError: If the step in the block cannot be compiled.
    """
    try:
        yield
    except TorchDynamoException as error:
        raise CannotCompileError(
            f"train.compile: the training step cannot be compiled ({_reason(error)}); set "
            "train.compile = false"
        ) from error


def compile_step(model: nn.Module, device: torch.device) -> nn.Module:
    """Return a compiled model with the parameters of `model`, under the same names.

    `model` itself is not changed and serves for evaluation. The second batch size causes one
    more compilation, which covers all further sizes.

    Raises:
        ConfigError: If torch.compile does not work on this machine.
    """
    try:
        # A small function detects a missing compiler before data are read.
        torch.compile(_try_out)(torch.ones(8, device=device))
    except Exception as error:  # compilers raise exceptions of many types
        raise ConfigError(
            f"train.compile: torch.compile does not work here ({_reason(error)}); install a C++ "
            "compiler such as g++, and for a GPU triton, or set train.compile = false"
        ) from error
    return cast(nn.Module, torch.compile(model))


def _try_out(x: torch.Tensor) -> torch.Tensor:
    return torch.sin(x) * 2 + x


def _reason(error: BaseException) -> str:
    inner: Any = getattr(error, "inner_exception", None)
    return first_line(inner if inner is not None else error)
