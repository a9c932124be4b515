"""A trained model back from its run folder."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from lightning_fabric import Fabric

from ibc_pyg.builders.data import Data, build_data
from ibc_pyg.builders.model import rebuild_model
from ibc_pyg.config import Config, TrainConfig
from ibc_pyg.config.yaml_file import config_from_yaml
from ibc_pyg.errors import ConfigError, RunError
from ibc_pyg.inference.extract import (
    ONE_VIEW,
    Described,
    Descriptors,
    describe_probe,
    read_descriptors,
    save_descriptors,
)
from ibc_pyg.inference.test_time_views import Views
from ibc_pyg.metrics import protocol_for
from ibc_pyg.nn.model import IntraBatchModel
from ibc_pyg.nn.weights import read_weights
from ibc_pyg.parallel.fabric import make_fabric
from ibc_pyg.parallel.precision import check_device
from ibc_pyg.runs.run_folder import RunFolder

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Trained:
    """A run that can be used.

    Attributes:
        run: Its folder.
        config: What it was made with.
        fabric: Device and precision.
        data: Images and their use.
        model: With the selected weights, in evaluation mode.
    """

    run: RunFolder
    config: Config
    fabric: Fabric
    data: Data
    model: IntraBatchModel

    def described(self, *, fresh: bool = False) -> Described:
        """Return the test descriptors, from the run's file if these weights made it.

        Args:
            fresh: Compute them whatever the file holds.
        """
        if self.data.splits.test.gallery is None and not fresh:
            kept = self._kept()
            if kept is not None:
                return Described(kept, None, protocol_for(self.data.table.name))
        described = self.describe()
        try:
            save_descriptors(
                self.run.descriptors, described.searched, self.data, weights=self.run.weights
            )
        except RunError as error:
            _LOG.warning("the descriptors are not kept: %s", error)
        return described

    def searched(self) -> Descriptors:
        """Return the descriptors that a picture is searched in, from the run's file if it fits."""
        kept = self._kept()
        return self.described().searched if kept is None else kept

    def _kept(self) -> Descriptors | None:
        return read_descriptors(self.run.descriptors, self.data, weights=self.run.weights)

    def describe(self, views: Views = ONE_VIEW) -> Described:
        """Compute the test descriptors; the run's file stays as it is.

        Args:
            views: Mirror image and crops that each descriptor is the mean of.
        """
        return describe_probe(
            self.fabric,
            self.model,
            self.data,
            self.data.splits.test,
            batch_size=self.config.evaluate.batch_size,
            views=views,
        )


def load_run(path: Path) -> Trained:
    """Open a run folder.

    Raises:
        UserError: If it is no run, has no weights yet, or they do not fit its configuration.
    """
    run = RunFolder.open(path)
    config = config_from_yaml(run.config)
    if not run.weights.is_file():
        raise RunError(
            f"{path} has no model.safetensors yet; finish it: python run.py train --resume {path}"
        )
    fabric = make_fabric(_usable(config.train, path))
    data = build_data(config.on_all_classes() if config.retrain else config)
    weights = read_weights(run.weights)
    # The heads are as wide as the weights say: the data set may be at hand in part only.
    logits = weights.get("auxiliary_head.linear.weight", torch.empty(data.splits.num_classes))
    model = rebuild_model(
        config.model,
        weights,
        run.weights,
        num_classes=len(logits),
        channels=data.transform.channels,
    )
    model.to(fabric.device).eval()
    return Trained(run, config, fabric, data, model)


def _usable(train: TrainConfig, path: Path) -> TrainConfig:
    """Take what device there is: a run is also used where the GPU that trained it is not."""
    try:
        check_device(train)
    except ConfigError:
        _LOG.warning("%s was trained on %s, which is not here; taking what is", path, train.device)
        return replace(train, device="auto", precision="32-true")
    return train
