"""A whole experiment."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

from ibc_pyg.config.checks import check_plain
from ibc_pyg.config.data import DataConfig
from ibc_pyg.config.evaluate import EvaluateConfig
from ibc_pyg.config.loss import LossConfig
from ibc_pyg.config.model import ModelConfig
from ibc_pyg.config.track import TrackConfig
from ibc_pyg.config.train import TrainConfig
from ibc_pyg.errors import ConfigError


@dataclass
class Config:
    """A whole experiment."""

    data: DataConfig = field(default_factory=DataConfig)
    """Images and batches."""
    model: ModelConfig = field(default_factory=ModelConfig)
    """Backbone and message passing."""
    loss: LossConfig = field(default_factory=LossConfig)
    """The two cross-entropies."""
    train: TrainConfig = field(default_factory=TrainConfig)
    """Optimiser and schedule."""
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
    """Metrics."""
    track: TrackConfig = field(default_factory=TrackConfig)
    """W&B."""
    select: Literal["val", "last", "test"] = "val"
    """Which weights are kept. val: the epoch that is best on held-out training classes; last: the
    last epoch, trained on all training classes; test: the epoch that is best on the test classes,
    the papers' habit, marked as such in every output."""
    retrain: bool = False
    """After `select` val has found the best epoch, train anew on all training classes, for as many
    epochs; these weights are the ones that are evaluated."""

    def __post_init__(self) -> None:
        """Check what spans several parts; raise ConfigError."""
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
        if self.model.steps == 0 and self.evaluate.refine != "none":
            raise ConfigError(
                f"evaluate.refine is {self.evaluate.refine}, but model.steps is 0: there is no "
                "message passing to refine with; set evaluate.refine = none"
            )
        if self.train.compile and self.model.gradient_checkpointing:
            raise ConfigError(
                "train.compile and model.gradient_checkpointing do not go together: the compiler "
                "itself chooses what is computed again; set one of them to false"
            )
        if self.retrain and self.select != "val":
            raise ConfigError(
                f"retrain needs select = val, which holds classes out, not {self.select}; "
                "set retrain = false"
            )
        if self.data.val_fold and self.select != "val":
            raise ConfigError(
                f"data.val_fold picks the held-out classes, but select = {self.select} holds none "
                "out; set select = val, or data.val_fold = 0"
            )
        if self.retrain and any("teacher" in term.args for term in self.loss.terms):
            raise ConfigError(
                "retrain trains on more classes in the end than at first, and no teacher of "
                "loss.terms knows both; leave one of them out"
            )
        if self.retrain and self.train.reload_best_at:
            raise ConfigError(
                "retrain has no held-out classes to say what is best at train.reload_best_at; "
                "leave one of them out"
            )
        if self.select == "last" and self.train.reload_best_at:
            raise ConfigError(
                "train.reload_best_at needs evaluations that say what is best; "
                "set select = val or test"
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
