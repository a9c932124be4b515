"""Classification heads of which each step uses the classes of the batch and a sample of the others.

The way of `"Partial FC: Training 10 Million Identities on a Single Machine"
<https://arxiv.org/abs/2010.05222>`_, with the same weights in all processes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ibc_pyg.errors import ConfigError
from ibc_pyg.nn.heads import BNNeckHead, LinearHead
from ibc_pyg.parallel.collectives import gather_rows

ZERO_STATE = ("Adadelta", "Adam", "Adamax", "AdamW", "NAdam", "RAdam", "RMSprop", "SGD")
"""Optimisers whose state of a weight is zero before its first step."""

Head = BNNeckHead | LinearHead


class SampledClasses(nn.Module):
    """The rows of all heads that a step uses, drawn anew before each.

    The heads keep the weights of all K classes, without gradient. The S drawn rows are copied into
    parameters of this module, which the heads use in training and the optimiser changes, and are
    copied back after its step, as is its state. Classes that are not drawn keep weights and state.
    With S = K it is the training with all classes, to the bit.

    Args:
        heads: Heads of the same K classes.
        fraction: Share of the classes in a step, in (0, 1].
        batch: Images of the global batch, which is the least S.
        seed: Seed of the draws; step `n` of a run draws the same classes in all processes.
    """

    def __init__(self, heads: Sequence[nn.Module], fraction: float, batch: int, seed: int) -> None:
        super().__init__()
        self._heads = [head for head in heads if isinstance(head, Head)]
        self.num_classes = self._heads[0].linear.out_features
        self.size = min(self.num_classes, max(math.ceil(fraction * self.num_classes), batch))
        self._seed, self._draws = seed, 0
        self._stores: list[nn.Parameter] = []
        self._slots: list[dict[str, Tensor]] = []
        self._chosen = torch.arange(self.size)  # [S]
        self.rows = nn.ParameterList()
        for head in self._heads:
            drawn = []
            for store in head.linear.parameters():
                store.requires_grad_(False)
                rows = nn.Parameter(store.detach()[: self.size].clone())  # [S, C] or [S]
                self._stores.append(store)
                self._slots.append({})
                self.rows.append(rows)
                drawn.append(rows)
            head.drawn = drawn

    @property
    def stores(self) -> list[nn.Parameter]:
        """Weights of all classes, `[K, C]`, and biases, `[K]`."""
        return self._stores

    @torch.no_grad()
    def draw(self, labels: Tensor, optimizer: torch.optim.Optimizer) -> Tensor:
        """Draw the classes of a step; all processes must call it together.

        Args:
            labels: Classes of this process's images, int64 `[N]`.
            optimizer: Owner of the rows.

        Returns:
            Columns of the logits that are these classes, int64 `[N]`, in [0, S).
        """
        generator = torch.Generator().manual_seed((self._seed << 30) + self._draws)
        order = torch.rand(self.num_classes, generator=generator)  # [K]
        order[gather_rows(labels).cpu()] = 2.0  # the classes of the batch come first
        chosen = order.topk(self.size).indices.sort().values  # [S]
        self._draws += 1
        self._chosen = chosen.to(self._stores[0].device)
        for rows, store, slots in self._each():
            rows.copy_(store[self._chosen])
            state = optimizer.state.get(rows, {})
            for name, slot in slots.items():
                state[name].copy_(slot[self._chosen])
        return torch.searchsorted(self._chosen, labels)

    @torch.no_grad()
    def keep(self, optimizer: torch.optim.Optimizer) -> None:
        """Copy the drawn rows back after the step of the optimiser, and its state of them."""
        for rows, store, slots in self._each():
            store[self._chosen] = rows.detach()
            for name, value in optimizer.state.get(rows, {}).items():
                if isinstance(value, Tensor) and value.shape == rows.shape:
                    if name not in slots:
                        slots[name] = torch.zeros_like(store, dtype=value.dtype)
                    slots[name][self._chosen] = value

    def get_extra_state(self) -> dict[str, Any]:
        """Return the number of draws, and the optimiser's state of all classes."""
        return {"draws": self._draws, "slots": self._slots}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Restore what `get_extra_state` returned."""
        self._draws = int(state["draws"])
        for store, slots, kept in zip(self._stores, self._slots, state["slots"], strict=True):
            slots.clear()
            slots.update({name: slot.to(store.device) for name, slot in kept.items()})

    def _each(self) -> Iterator[tuple[nn.Parameter, nn.Parameter, dict[str, Tensor]]]:
        yield from zip(self.rows, self._stores, self._slots, strict=True)


def check_optimizer(name: str) -> None:
    """Check that an optimiser can train sampled classes.

    Raises:
        ConfigError: If its state of a weight may differ from zero before the first step.
    """
    if name not in ZERO_STATE:
        raise ConfigError(
            f"loss.sampled_classes is less than 1, which needs one of the optimisers "
            f"{', '.join(ZERO_STATE)}, not {name}; set loss.sampled_classes = 1"
        )
