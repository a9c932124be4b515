"""Gradient checkpointing: activations are recomputed in the backward pass instead of stored.

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
    """Mixin of a block's class that stores only the block's inputs for the backward pass."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Call `forward` of the block's class."""
        if not (self.training and torch.is_grad_enabled()):
            return super().forward(*args, **kwargs)

        def contexts() -> tuple[AbstractContextManager[Any], AbstractContextManager[Any]]:
            return nullcontext(), preserved_buffers(self)

        return checkpoint(
            super().forward, *args, use_reentrant=False, context_fn=contexts, **kwargs
        )


@contextmanager
def preserved_buffers(module: nn.Module) -> Iterator[None]:
    """Replace the buffers of a module by copies within the context.

    Otherwise the second forward pass would update the running statistics of batch normalisations
    again.
    """
    buffers = [
        (child, name, buffer)
        for child in module.modules()
        for name, buffer in child.named_buffers(recurse=False)
    ]
    for child, name, buffer in buffers:
        setattr(child, name, buffer.clone())
    try:
        yield
    finally:
        for child, name, buffer in buffers:
            setattr(child, name, buffer)


def recompute_blocks(backbone: nn.Module) -> int:
    """Enable gradient checkpointing for the blocks of a backbone; parameter names do not change.

    A block is a composite module in a sequence: a residual block, a dense block, a transformer
    layer. If there are none, the blocks are the innermost sequences, such as convolution,
    normalisation and activation.

    Returns:
        Number of blocks.

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
        # As torch.nn.utils.parametrize does; a wrapper would change the names of the parameters.
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
