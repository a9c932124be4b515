"""torch.compile for the training step."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import nn
from torch._dynamo.exc import TorchDynamoException

from ibc_pyg.errors import ConfigError, RunError, first_line


class CannotCompileError(RunError):
    """The training step could not be compiled; it has not been taken."""


@contextmanager
def compiling() -> Iterator[None]:
    """Turn what the compiler says when the step is first called into one line.

    Raises:
        CannotCompileError: If a step within cannot be compiled.
    """
    try:
        yield
    except TorchDynamoException as error:
        raise CannotCompileError(
            f"train.compile: the training step cannot be compiled ({_reason(error)}); set "
            "train.compile = false"
        ) from error


def compile_step(model: nn.Module, device: torch.device) -> nn.Module:
    """Return the model compiled; parameters and their names are those of `model`.

    `model` itself is left as it is, for evaluation. A second batch size makes one more
    compilation, for all sizes; there are no further ones.

    Raises:
        ConfigError: If compiling does not work on this machine.
    """
    try:
        # Small, so that a missing compiler shows before anything is read or trained.
        torch.compile(_try_out)(torch.ones(8, device=device))
    except Exception as error:  # whatever a compiler may say
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
