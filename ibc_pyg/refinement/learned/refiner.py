"""Message passing over nearest neighbours, weighed by what surrounds each edge."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ibc_pyg.nn.conv.adapter import ConvAdapter
from ibc_pyg.nn.conv.factory import make_conv
from ibc_pyg.nn.conv.inputs import EdgeInput
from ibc_pyg.refinement.learned.config import LEARNED_EDGES, RefinerConfig
from ibc_pyg.refinement.learned.edge_features import (
    FEATURES,
    Lists,
    edge_features,
    nearest_lists,
)

_POWER = 3.0
_LEAST = 1e-3
_FLOATS = 16


class Round(nn.Module):
    """One round of refinement.

    A neighbour j of i has the weight `s_ij^b exp(MLP(features of the edge))`, s their cosine; the
    MLP starts at zero, so that training starts from the average weighted by the third power of the
    cosine. The refined descriptor is `own x_i + sum_j weight x_j`, normalised; `b` and `own` are
    learned. Other graph layers get `own x_i + conv(linear(x))` on the star of i and neighbours,
    with the weights as `edge_weight` if they take one; `none` gets `own x_i + linear(x_i)`.

    Args:
        channels: Width D of the descriptors.
        config: Graph layer and its arguments.

    Shapes:
        - **input:** descriptors :math:`(N, D)`, features of edges :math:`(N, k, F)`, similarities
          :math:`(N, k)`, neighbours :math:`(N, k, D)`
        - **output:** unit-norm descriptors :math:`(N, D)`
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, channels: int, config: RefinerConfig) -> None:
        super().__init__()
        count, width = len(FEATURES), config.hidden
        self.register_buffer("mean", torch.zeros(count))
        self.register_buffer("scale", torch.ones(count))
        last = nn.Linear(width, 1)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.mlp = nn.Sequential(
            nn.Linear(count, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), last
        )
        self.power = nn.Parameter(torch.tensor(_POWER))
        self.log_own = nn.Parameter(torch.tensor(0.0))
        self.linear: nn.Linear | None = None
        self.conv: nn.Module | None = None
        if config.conv != LEARNED_EDGES:
            self.linear = nn.Linear(channels, channels)
            nn.init.zeros_(self.linear.bias)
            nn.init.normal_(self.linear.weight, std=0.01 / math.sqrt(channels))
        if config.conv not in (LEARNED_EDGES, "none"):
            self.conv = make_conv(
                config.conv, channels, conv_args=config.conv_args, heads=config.heads, dropout=0.0
            )

    def weights(self, features: Tensor, similarities: Tensor) -> Tensor:
        """Return the weights of the edges, `[N, k]`, above zero."""
        logits: Tensor = self.mlp((features - self.mean) / self.scale).squeeze(2)  # [N, k]
        weights: Tensor = (self.power * similarities.clamp(min=_LEAST).log() + logits).exp()
        return weights

    def forward(
        self, x: Tensor, features: Tensor, similarities: Tensor, neighbours: Tensor
    ) -> Tensor:
        """Refine descriptors."""
        if self.linear is None:
            weights = self.weights(features, similarities)
            messages = torch.einsum("nk,nkd->nd", weights, neighbours)  # [N, D]
        elif self.conv is None:
            messages = self.linear(x)
        else:
            messages = self._on_stars(x, features, similarities, neighbours)
        return F.normalize(self.log_own.exp() * x + messages, dim=1)

    def _on_stars(
        self, x: Tensor, features: Tensor, similarities: Tensor, neighbours: Tensor
    ) -> Tensor:
        """Apply the graph layer to the star of each descriptor and its neighbours, `[N, D]`."""
        assert self.linear is not None
        assert self.conv is not None
        N, k, D = neighbours.shape
        nodes = torch.cat([x[:, None], neighbours], dim=1)  # [N, k + 1, D]
        target = torch.arange(N, device=x.device)[:, None] * (k + 1)  # [N, 1]
        source = target + torch.arange(1, k + 1, device=x.device)  # [N, k]
        edge_index = torch.stack([source.flatten(), target.expand(N, k).flatten()])  # [2, N * k]
        weight = None
        takes = (
            not isinstance(self.conv, ConvAdapter) or self.conv.inputs.edge is not EdgeInput.NONE
        )
        if takes:
            weight = self.weights(features, similarities).flatten()  # [N * k]
        out: Tensor = self.conv(self.linear(nodes.flatten(0, 1)), edge_index, weight)
        return out.view(N, k + 1, D)[:, 0]


@dataclass(frozen=True)
class RefinedGallery:
    """A gallery with what the refinement of queries needs.

    Attributes:
        levels: Input of each round, unit-norm `[M, D]`, with its lists.
        vectors: Refined descriptors, unit-norm `[M, 2 D]`.
    """

    levels: tuple[tuple[Tensor, Lists], ...]
    vectors: Tensor


class Refiner(nn.Module):
    """Trained refinement of descriptors, the unrefined descriptor mixed in.

    The descriptor is `[sqrt(share) x, sqrt(1 - share) refined]`. Labels are not used, and a query
    receives from the gallery alone.

    Args:
        channels: Width D of the descriptors.
        config: Settings.
        share: Share of the unrefined descriptor, in [0, 1].
    """

    def __init__(self, channels: int, config: RefinerConfig, *, share: float = 0.5) -> None:
        super().__init__()
        self.channels, self.config, self.share = channels, config, share
        self.rounds = nn.ModuleList(Round(channels, config) for _ in range(config.rounds))

    @torch.no_grad()
    def gallery(self, vectors: Tensor) -> RefinedGallery:
        """Refine gallery items, each among the others.

        Args:
            vectors: Unit-norm float32 `[M, D]`, M at least 2.
        """
        x, levels = vectors, []
        for step in self.rounds:
            lists = nearest_lists(x, None, self.config.k)
            levels.append((x, lists))
            x = self._pass(step, x, lists, x, lists)
        return RefinedGallery(tuple(levels), self.mixed(vectors, x))

    @torch.no_grad()
    def queries(self, vectors: Tensor, gallery: RefinedGallery) -> Tensor:
        """Refine queries among gallery items, each alone.

        Args:
            vectors: Unit-norm float32 `[N, D]`.
            gallery: The gallery.

        Returns:
            Unit-norm float32 `[N, 2 D]`.
        """
        x = vectors
        for step, (items, others) in zip(self.rounds, gallery.levels, strict=True):
            x = self._pass(step, x, nearest_lists(x, items, self.config.k), items, others)
        return self.mixed(vectors, x)

    def mixed(self, vectors: Tensor, refined: Tensor) -> Tensor:
        """Put the unrefined descriptors beside the refined ones, `[N, 2 D]`."""
        shares = (math.sqrt(self.share), math.sqrt(1 - self.share))
        return torch.cat([shares[0] * vectors, shares[1] * refined], dim=1)

    def _pass(
        self, step: nn.Module, x: Tensor, lists: Lists, items: Tensor, others: Lists
    ) -> Tensor:
        """Run a round in chunks, `[N, D]`."""
        k = lists.indices.shape[1]
        rows = max(1, _ROOM // (4 * k * (x.shape[1] + _FLOATS * k)))
        return torch.cat(
            [
                step(
                    x[part],
                    edge_features(x[part], lists.rows(part), items, others),
                    lists.similarities[part],
                    items[lists.indices[part]],
                )
                for part in torch.split(torch.arange(len(x), device=x.device), rows)
            ]
        )


_ROOM = 2**26
"""Approximate bytes of a chunk."""
