"""Trained models, opened from their run folders."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from lightning_fabric import Fabric
from torch import Tensor

from ibc_pyg import __version__
from ibc_pyg.builders.data import build_transform, load_images
from ibc_pyg.builders.model import rebuild_model
from ibc_pyg.builders.plugged import check_code, with_kept_code
from ibc_pyg.config import Config, TrainConfig
from ibc_pyg.config.files.yaml_file import config_from_yaml, parse_config
from ibc_pyg.data.registry import needs_root
from ibc_pyg.data.transforms import Transform
from ibc_pyg.errors import ConfigError, RunError, reason
from ibc_pyg.files import file_digest, read_json
from ibc_pyg.nn.model import IntraBatchModel
from ibc_pyg.nn.weights import read_weights
from ibc_pyg.parallel.fabric import make_fabric
from ibc_pyg.parallel.precision import check_device
from ibc_pyg.runs.data_root import with_found_root
from ibc_pyg.runs.run_folder import RunFolder
from ibc_pyg.runs.split_record import SplitRecord, read_split

_logger = logging.getLogger(__name__)

_HEAD = "auxiliary_head.linear.weight"


@dataclass(frozen=True)
class Trained:
    """A trained model, opened without its data set.

    Attributes:
        run: Its folder.
        config: Configuration of the run.
        fabric: Device and precision.
        model: Model with the selected weights, in evaluation mode.
        transform: Preprocessing of the model's input.
        record: Training and test images; None for runs of version 0.1.0.
        image_shape: Height, width and channels that pictures are resized to first, if the model
            was trained on a data set in memory; else None.
        digest: SHA-256 of the file that the weights were read from, which a running training may
            replace; None if the file holds the weights of `model`.
    """

    run: RunFolder
    config: Config
    fabric: Fabric
    model: IntraBatchModel
    transform: Transform
    record: SplitRecord | None = None
    image_shape: tuple[int, int, int] | None = None
    digest: str | None = None

    @property
    def device(self) -> torch.device:
        """Device of the model."""
        return self.fabric.device

    @property
    def num_classes(self) -> int:
        """Number of classes that the model was trained on."""
        return len(self.model.state_dict()[_HEAD])


def load_run(path: Path, *, trust_code: bool = False, fields: Sequence[str] = ()) -> Trained:
    """Open a run folder.

    Args:
        path: The folder.
        trust_code: Whether code of the user that its config.yaml refers to may be imported; of a
            file, the run's copy is executed.
        fields: Options that replace fields of its configuration, such as `--data.root DIR`.

    Raises:
        UserError: If it is not a run, was created by a newer version, has no weights yet, or they
            do not fit its configuration.
    """
    run = RunFolder.open(path)
    _check_version(run)
    own = config_from_yaml(run.config)
    config = parse_config(run.config, fields) if fields else own
    if config.data.root == own.data.root:
        config = with_found_root(run, config)
    check_code(config, path, trust=trust_code, opening=True)
    config = with_kept_code(config, path)
    if not run.weights.is_file():
        raise RunError(f"{path} has no model.safetensors yet; finish it: {run.resume_command}")
    fabric = make_fabric(_usable(config.train, path))
    record = read_split(run.split, data_root=config.data.root)
    transform = build_transform(config.data)
    weights, digest = _weights(run)
    if _HEAD not in weights:
        raise RunError(f"{run.weights} does not fit the model: {_HEAD} is missing")
    model = rebuild_model(
        config.model,
        weights,
        run.weights,
        num_classes=len(weights[_HEAD]),
        channels=transform.channels,
    )
    model.to(fabric.device).eval()
    shape = _image_shape(config, record)
    return Trained(run, config, fabric, model, transform, record, shape, digest)


def _weights(run: RunFolder) -> tuple[dict[str, Tensor], str]:
    """Return the weights and the digest of the same file, which a training may replace."""
    try:
        while True:
            before = run.weights.stat()
            weights, digest = read_weights(run.weights), file_digest(run.weights)
            after = run.weights.stat()
            if (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns):
                return weights, digest
    except OSError as error:
        raise RunError(f"{run.weights} cannot be read: {reason(error)}") from error


def _image_shape(config: Config, record: SplitRecord | None) -> tuple[int, int, int] | None:
    if record is not None or needs_root(config.data.name):
        return None if record is None else record.image_shape
    return load_images(config.data).image_shape


def _check_version(run: RunFolder) -> None:
    if not run.environment.is_file():
        return
    packages = read_json(run.environment).get("packages")
    made_by = packages.get("ibc-pyg") if isinstance(packages, dict) else None
    if isinstance(made_by, str) and _release(made_by) > _release(__version__):
        raise RunError(
            f"{run.path} was created by ibc_pyg {made_by:.20}, which is newer than {__version__}; "
            "update ibc_pyg"
        )


def _release(version: str) -> tuple[int, ...]:
    """Return the numbers of a version up to the first part that is not a number."""
    numbers = []
    for part in version.split("."):
        if not part.isdecimal() or len(part) > 9:
            break
        numbers.append(int(part))
    return tuple(numbers)


def _usable(train: TrainConfig, path: Path) -> TrainConfig:
    """Replace a device that is unavailable on this machine."""
    try:
        check_device(train)
    except ConfigError:
        _logger.warning(
            "%s was trained on %s, which is unavailable; using another device", path, train.device
        )
        return replace(train, device="auto", precision="32-true")
    return train
