"""Losses and miners of the user."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ibc_pyg.losses.term import TermInput
from ibc_pyg.plugins import Plug
from ibc_pyg.plugins.plug import described, named_arguments


class PluggedLoss(nn.Module):
    """Loss of the user as a term.

    Args:
        plug: Its class, derived from `torch.nn.Module`.
        args: Arguments of the class.
        miner: Called with features and labels; None calls the loss without its output.
        **sizes: `num_classes` and `embedding_size`, supplied where the class names them.

    Raises:
        ConfigError: If it cannot be made, or is not a module.
    """

    def __init__(
        self, plug: Plug, args: Mapping[str, Any], miner: nn.Module | None, **sizes: int
    ) -> None:
        super().__init__()
        self.plug = plug
        loss = plug.make(args, **sizes)
        if not isinstance(loss, nn.Module):
            plug.refuse(plug.kind.expected, described(loss))
        self.loss = loss
        self.miner = miner
        self._takes_logits = "logits" in named_arguments(loss.forward)

    def forward(self, inputs: TermInput) -> Tensor:
        """Return the loss of one batch.

        Raises:
            ConfigError: If the user's code fails, or does not return a scalar.
        """
        mined = [] if self.miner is None else [self.miner(inputs.features, inputs.labels)]
        more = {"logits": inputs.logits} if self._takes_logits else {}
        with self.plug.errors():
            value = self.loss(inputs.features, inputs.labels, *mined, **more)
        if not isinstance(value, Tensor) or value.shape != () or not value.is_floating_point():
            self.plug.refuse("a scalar tensor", described(value))
        return value


class PluggedMiner(nn.Module):
    """Miner of the user.

    Args:
        plug: Where it comes from.
        args: Arguments of the class or function.
    """

    def __init__(self, plug: Plug, args: Mapping[str, Any]) -> None:
        super().__init__()
        self.plug = plug
        self.function: Callable[..., Any] = plug.function(args)

    def forward(self, features: Tensor, labels: Tensor) -> tuple[Tensor, ...]:
        """Return three or four tensors of indices into the batch, int64.

        Raises:
            ConfigError: If the user's code fails or returns something else.
        """
        with self.plug.errors():
            found = self.function(features, labels)
        expected = "3 or 4 tensors of indices, int64"
        if not isinstance(found, tuple | list) or len(found) not in (3, 4):
            self.plug.refuse(expected, described(found))
        for each in found:
            if not isinstance(each, Tensor) or each.ndim != 1 or each.dtype != torch.int64:
                self.plug.refuse(expected, described(each))
            if not each.is_cuda and len(each) and not 0 <= each.min() <= each.max() < len(labels):
                self.plug.refuse(f"indices from 0 to {len(labels) - 1}", f"{each.max()}")
        # Triplets, or positive and negative pairs.
        groups = [found] if len(found) == 3 else [found[:2], found[2:]]
        if any(len({len(each) for each in group}) > 1 for group in groups):
            self.plug.refuse("tensors of one length", f"{[len(each) for each in found]}")
        return tuple(found)
