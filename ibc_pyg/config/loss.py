"""The loss."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from ibc_pyg.config.checks import Range, check, check_ranges
from ibc_pyg.errors import ConfigError

LOGITS = ("FocalLoss", "SoftTargetDistillation")
"""Terms that read the logits of all classes, as a term of the user may."""


@dataclass
class TermConfig:
    """Further term of the loss."""

    name: str
    """A loss of pytorch-metric-learning, such as MultiSimilarityLoss, or of ibc_pyg: FocalLoss,
    CenterLoss, BatchHardTripletLoss, SoftTargetDistillation, FeatureDistillation; or FILE.py:NAME,
    package.module:NAME."""
    args: dict[str, Any] = field(default_factory=dict)
    """Arguments of the loss; num_classes and embedding_size are set automatically. A part of the
    loss, such as a distance or a reducer, is given as {name: ..., args: {...}}."""
    miner: str | None = None
    """A miner of pytorch-metric-learning, such as TripletMarginMiner, or FILE.py:NAME; none: all
    pairs."""
    miner_args: dict[str, Any] = field(default_factory=dict)
    """Arguments of the miner."""
    features: Literal["embeddings", "nodes"] = "embeddings"
    """Input of the loss: raw backbone embeddings, or refined nodes (the last output of the MPN)."""
    weight: Annotated[float, Range(0, 1e6)] = 1.0
    """Weight of the term in the sum."""
    lr_factor: Annotated[float, Range(0, 1e6, above=True)] = 1.0
    """Factor of `train.lr` for parameters of the term, such as proxies."""

    def __post_init__(self) -> None:
        """Check ranges; raise ConfigError."""
        check_ranges("loss.terms", self)
        for field_name in ("args", "miner_args"):
            value = getattr(self, field_name)
            needs = "a mapping of arguments, or omitted"
            check(f"loss.terms.{field_name}", isinstance(value, dict), needs, value)
        check(
            "loss.terms.miner_args",
            self.miner is not None or not self.miner_args,
            "empty without a miner",
            self.miner_args,
        )


@dataclass
class LossConfig:
    """Cross-entropy on refined nodes and embeddings (paper, section 3.5), and further terms."""

    temperature: Annotated[float, Range(0, 1e6, above=True)] = 1.0
    """T: divisor of the logits."""
    label_smoothing: Annotated[float, Range(0, 1, below=True)] = 0.1
    """Fraction of the target that is distributed over all classes."""
    node_weight: Annotated[float, Range(0, 1e6)] = 1.0
    """Weight of the cross-entropy on the refined nodes."""
    auxiliary_weight: Annotated[float, Range(0, 1e6)] = 1.0
    """Weight of the cross-entropy on the backbone embeddings."""
    sampled_classes: Annotated[float, Range(0, 1, above=True)] = 1.0
    """Share of the classes that the cross-entropies of a step use: those of the batch, and a new
    random sample of the others. For hundreds of thousands of classes; 1: all."""
    terms: list[TermConfig] = field(default_factory=list)
    """Further terms: metric-learning losses, as baselines or in addition to the graph."""

    def __post_init__(self) -> None:
        """Check ranges; raise ConfigError."""
        check_ranges("loss", self)
        for term in self.terms:
            needs = term.name in LOGITS or ":" in term.name
            if self.sampled_classes < 1 and needs:
                raise ConfigError(
                    f"loss.terms: {term.name} may read the logits of all classes, of which "
                    "loss.sampled_classes leaves a sample; set it to 1, or omit the term"
                )
