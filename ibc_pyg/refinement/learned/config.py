"""Settings of a refiner and of its training."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any

from ibc_pyg.config.checks import Range, check, check_ranges
from ibc_pyg.config.plugged import INNER_LAYERS, is_code

LEARNED_EDGES = "LearnedEdges"
"""Layer that averages the neighbours by the learned weights of the edges."""


@dataclass(frozen=True)
class RefinerConfig:
    """Settings of a refiner and of its training."""

    conv: str = LEARNED_EDGES
    """Graph layer: LearnedEdges, none, IntraBatchConv, or a name in torch_geometric.nn. All but the
    first follow a linear layer."""
    conv_args: dict[str, Any] = field(default_factory=dict)
    """Further arguments of the graph layer."""
    heads: Annotated[int, Range(1, 1024)] = 1
    """Attention heads of the graph layer, if it has any."""
    k: Annotated[int, Range(1, 1000)] = 30
    """Neighbours that a descriptor receives from."""
    rounds: Annotated[int, Range(1, 10)] = 2
    """Rounds of refinement, each trained on the output of the one before."""
    hidden: Annotated[int, Range(1, 4096)] = 32
    """Width of the two hidden layers that weigh an edge."""
    temperature: Annotated[float, Range(0, 100, above=True)] = 0.1
    """Temperature of the loss."""
    first_hit: Annotated[float, Range(0, 1000)] = 8.0
    """Weight of the loss of the first hit, beside that of all hits."""
    training_share: Annotated[float, Range(0, 1, below=True)] = 0.3
    """Share of the unrefined descriptor in training."""
    lr: Annotated[float, Range(0, 10, above=True)] = 1e-2
    """Learning rate of Adam, which falls to zero along a cosine."""
    steps: Annotated[int, Range(1, 1_000_000)] = 80
    """Steps of each round."""
    episodes: Annotated[int, Range(1, 10_000)] = 12
    """Subsampled galleries that the steps take turns in."""
    receivers: Annotated[int, Range(2, 100_000)] = 500
    """Descriptors in a step."""

    def __post_init__(self) -> None:
        """Check ranges; raise ConfigError."""
        check_ranges("refiner", self)
        # The file of a refiner names its layer, and must not make anybody import code.
        inner = {f"refiner.conv_args.{key}": self.conv_args.get(key) for key in INNER_LAYERS}
        for field_name, name in {"refiner.conv": self.conv, **inner}.items():
            check(
                field_name,
                name != "" and not (isinstance(name, str) and is_code("graph layer", name)),
                "LearnedEdges, none, IntraBatchConv or the name of a layer in torch_geometric.nn",
                name,
            )
