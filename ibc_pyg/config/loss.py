"""What is minimised."""

from __future__ import annotations

from dataclasses import dataclass

from ibc_pyg.config.checks import check, check_finite


@dataclass
class LossConfig:
    """Cross-entropy on the refined nodes and on the embeddings (paper, section 3.5)."""

    temperature: float = 1.0
    """T: logits are divided by it."""
    label_smoothing: float = 0.1
    """Share of the target that is spread over all classes."""
    node_weight: float = 1.0
    """Weight of the cross-entropy on the refined nodes."""
    auxiliary_weight: float = 1.0
    """Weight of the cross-entropy on the backbone embeddings."""

    def __post_init__(self) -> None:
        """Check ranges; raise ConfigError."""
        check_finite("loss", self)
        check("loss.temperature", self.temperature > 0, "> 0", self.temperature)
        check(
            "loss.label_smoothing", 0 <= self.label_smoothing < 1, "in [0, 1)", self.label_smoothing
        )
        check("loss.node_weight", self.node_weight >= 0, ">= 0", self.node_weight)
        check("loss.auxiliary_weight", self.auxiliary_weight >= 0, ">= 0", self.auxiliary_weight)
