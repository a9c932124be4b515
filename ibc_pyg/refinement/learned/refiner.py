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
from ibc_pyg.refinement.method import mixed

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
        refined: Refined descriptors, unit-norm `[M, D]`.
        vectors: Both put together, unit-norm `[M, 2 D]`; see `Refiner`.
    """

    levels: tuple[tuple[Tensor, Lists], ...]
    refined: Tensor
    vectors: Tensor


class Refiner(nn.Module):
    """Trained refinement of descriptors, the unrefined descriptor mixed in.

    The descriptor is `[sqrt(share) x, sqrt(1 - share) refined]`, or one of both alone for a share
    of 0 or 1. Labels are not used, and a query receives from the gallery alone.

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
            x = run_round(step, x, lists, x, lists)
        return RefinedGallery(tuple(levels), x, mixed(vectors, x, self.share))

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
            x = run_round(step, x, nearest_lists(x, items, self.config.k), items, others)
        return mixed(vectors, x, self.share)


def run_round(step: nn.Module, x: Tensor, lists: Lists, gallery: Tensor, others: Lists) -> Tensor:
    """Refine descriptors by a round, in chunks.

    Args:
        step: The `Round`.
        x: Unit-norm float32 `[N, D]`.
        lists: Their lists, N of length k.
        gallery: Unit-norm float32 `[M, D]`.
        others: The lists of the gallery items, M of length k'.

    Returns:
        Unit-norm `[N, D]`.
    """
    k = lists.indices.shape[1]
    rows = max(1, _ROOM // (4 * k * (x.shape[1] + _FLOATS * k)))
    out = []
    for part in torch.split(torch.arange(len(x), device=x.device), rows):
        own = lists.rows(part)
        items = gallery[own.indices]  # [n, k, D]
        features = edge_features(own, items, others.rows(own.indices))  # [n, k, F]
        out.append(step(x[part], features, own.similarities, items))  # [n, D]
    return torch.cat(out)


_ROOM = 2**26
"""Approximate bytes of a chunk."""
