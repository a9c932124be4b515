"""Configuration of an experiment."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

from ibc_pyg.config.checks import check_plain
from ibc_pyg.config.data import DataConfig
from ibc_pyg.config.evaluate import MPN_REFINERS, EvaluateConfig
from ibc_pyg.config.loss import LossConfig
from ibc_pyg.config.model import ModelConfig
from ibc_pyg.config.track import TrackConfig
from ibc_pyg.config.train import TrainConfig
from ibc_pyg.errors import ConfigError


@dataclass
class Config:
    """Configuration of an experiment."""

    data: DataConfig = field(default_factory=DataConfig)
    """Images and batches."""
    model: ModelConfig = field(default_factory=ModelConfig)
    """Backbone and message passing."""
    loss: LossConfig = field(default_factory=LossConfig)
    """The two cross-entropies and further terms."""
    train: TrainConfig = field(default_factory=TrainConfig)
    """Optimiser, schedule and device."""
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
    """Metrics and descriptor refinement."""
    track: TrackConfig = field(default_factory=TrackConfig)
    """Tracking of metrics, and the report."""
    select: Literal["val", "last", "test"] = "val"
    """Selection of the weights. val: the best epoch on held-out training classes; last: the last
    epoch, trained on all training classes; test: the best epoch on the test classes, as in many
    papers, which is marked in every output."""
    retrain: bool = False
    """After `select` val has determined the best epoch, train again from scratch on all training
    classes for that number of epochs, and evaluate these weights."""

    def __post_init__(self) -> None:
        """Check combinations of fields; raise ConfigError."""
        check_plain(self)
        terms = [term for term in self.loss.terms if term.weight > 0]
        of_nodes = self.model.steps > 0 and self.loss.node_weight > 0
        if not of_nodes and self.loss.auxiliary_weight == 0 and not terms:
            nodes = "model.steps" if self.model.steps == 0 else "loss.node_weight"
            raise ConfigError(
                f"loss.auxiliary_weight is 0 and {nodes} is 0: there is no loss; raise one, or "
                "add loss.terms"
            )
        for term in self.loss.terms:
            if self.model.steps == 0 and term.features == "nodes":
                raise ConfigError(
                    f"loss.terms: {term.name} is computed on nodes, but model.steps is 0: there "
                    "are no refined nodes; set features: embeddings"
                )
        if self.model.steps == 0 and self.evaluate.refine in MPN_REFINERS:
            raise ConfigError(
                f"evaluate.refine is {self.evaluate.refine}, but model.steps is 0: there is no "
                "message passing to refine with; set evaluate.refine = none"
            )
        if self.train.compile and self.model.gradient_checkpointing:
            raise ConfigError(
                "train.compile and model.gradient_checkpointing cannot be combined: the compiler "
                "chooses the recomputed activations; set one of them to false"
            )
        if self.retrain and self.select != "val":
            raise ConfigError(
                f"retrain needs select = val, which holds out classes, not {self.select}; "
                "set retrain = false"
            )
        if self.data.val_fold and self.select != "val":
            raise ConfigError(
                f"data.val_fold selects the held-out classes, but select = {self.select} holds out "
                "none; set select = val, or data.val_fold = 0"
            )
        if self.retrain and any("teacher" in term.args for term in self.loss.terms):
            raise ConfigError(
                "retrain trains on two sets of classes, but a teacher of loss.terms knows one of "
                "them; omit retrain or the teacher"
            )
        if self.retrain and self.train.reload_best_at:
            raise ConfigError(
                "retrain has no held-out classes to determine the best weights at "
                "train.reload_best_at; omit one of them"
            )
        if self.select == "last" and self.train.reload_best_at:
            raise ConfigError(
                "train.reload_best_at needs evaluations during training; set select = val or test"
            )
        if self.select != "last" and self.train.evaluate_every == 0:
            raise ConfigError(
                f"train.evaluate_every is 0, but select = {self.select} needs evaluations; "
                "set it to 1, or select = last"
            )

    def on_all_classes(self) -> Config:
        """Return the same experiment without held-out training classes."""
        data = replace(self.data, val_fold=0)
        return replace(self, data=data, select="last", retrain=False)
