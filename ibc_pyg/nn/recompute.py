"""Gradient checkpointing: activations are computed again on the way back, not kept.

"Training Deep Nets with Sublinear Memory Cost" (https://arxiv.org/abs/1604.06174).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, cast

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from ibc_pyg.errors import ConfigError


class Recomputed(nn.Module):
    """Mixed into a block's class: only the block's inputs are kept for the backward pass."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Call the block; parameters and results are those of the class beside this one."""
        if not (self.training and torch.is_grad_enabled()):
            return super().forward(*args, **kwargs)

        def contexts() -> tuple[AbstractContextManager[Any], AbstractContextManager[Any]]:
            return nullcontext(), buffers_untouched(self)

        return checkpoint(
            super().forward, *args, use_reentrant=False, context_fn=contexts, **kwargs
        )


@contextmanager
def buffers_untouched(module: nn.Module) -> Iterator[None]:
    """Lend a module copies of its buffers.

    The second forward pass would otherwise move the running statistics of batch normalisations a
    second time.
    """
    kept = [(child, dict(child._buffers)) for child in module.modules() if child._buffers]
    for child, buffers in kept:
        for name, buffer in buffers.items():
            child._buffers[name] = None if buffer is None else buffer.clone()
    try:
        yield
    finally:
        for child, buffers in kept:
            child._buffers.update(buffers)


def recompute_blocks(backbone: nn.Module) -> int:
    """Make the blocks of a backbone compute their activations again; names and values stay.

    A block is a module with parts of its own that stands in a sequence: a residual block, a dense
    block, a transformer's layer. Where there is none, it is an innermost sequence such as
    convolution, normalisation and activation.

    Returns:
        How many blocks were found.

    Raises:
        ConfigError: If there is none.
    """
    blocks = _blocks(backbone) or [each for each in backbone.modules() if _is_innermost(each)]
    if not blocks:
        raise ConfigError(
            f"model.gradient_checkpointing: {type(backbone).__name__} has no blocks in sequence; "
            "set it to false"
        )
    for block in blocks:
        kind = type(block)
        # Another class instead of a wrapper: the names of the parameters stay.
        block.__class__ = cast(Any, type(f"Recomputed{kind.__name__}", (Recomputed, kind), {}))
    return len(blocks)


def _blocks(module: nn.Module) -> list[nn.Module]:
    found: list[nn.Module] = []
    in_sequence = isinstance(module, nn.Sequential | nn.ModuleList)
    for child in module.children():
        is_list = isinstance(child, nn.Sequential | nn.ModuleList)
        composite = any(True for _ in child.children()) and any(True for _ in child.parameters())
        if in_sequence and composite and not is_list:
            found.append(child)
        else:
            found += _blocks(child)
    return found


def _is_innermost(module: nn.Module) -> bool:
    children = list(module.children())
    leaves = not any(True for child in children for _ in child.children())
    return isinstance(module, nn.Sequential) and len(children) > 1 and leaves
