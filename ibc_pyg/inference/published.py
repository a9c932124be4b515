"""Published folders: a model to hand on, read without its run, its data set or a pickle."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from torch import nn

from ibc_pyg import __version__
from ibc_pyg.config import Config, DataConfig, ModelConfig, TrainConfig
from ibc_pyg.data.transforms import Transform, transform_preset
from ibc_pyg.errors import ConfigError, RunError, UserError, printable, reason, shown
from ibc_pyg.files import file_digest, read_json
from ibc_pyg.nn.backbones.factory import backbone_names, make_backbone
from ibc_pyg.nn.backbones.timm_backbone import PREFIX
from ibc_pyg.nn.model import IntraBatchModel
from ibc_pyg.nn.weights import fit_weights, read_weights
from ibc_pyg.parallel.fabric import make_fabric
from ibc_pyg.runs.run_folder import REFINER

FORMAT = 1
CONFIG, WEIGHTS = "config.json", "model.safetensors"
LIBRARY = "ibc-pyg"


@dataclass(frozen=True)
class PublishedConfig:
    """Content of config.json.

    Attributes:
        backbone: Name of the network; code of the user is not published.
        backbone_args: Its arguments.
        embedding_dim: Length D of a vector.
        image_size: Side of the input in pixels.
        resize: Shorter side before the centre crop.
        mean: Mean of each channel, for pixels in [0, 1].
        std: Standard deviation of each channel.
        image_shape: Height, width and channels that pictures are resized to first, or None.
        class_names: Classes trained on; None if the run has no record of them.
        weights_sha256: SHA-256 of model.safetensors.
        format: Version of this layout.
        library_name: Always "ibc-pyg"; without it a hub takes config.json for another library's.
        ibc_pyg_version: Version that wrote the folder.
        metric: Similarity of two vectors.
        normalized: Whether vectors have unit norm.
    """

    backbone: str
    backbone_args: dict[str, Any]
    embedding_dim: int
    image_size: int
    resize: int
    mean: list[float]
    std: list[float]
    image_shape: list[int] | None
    class_names: list[str] | None
    weights_sha256: str
    format: int = FORMAT
    library_name: str = LIBRARY
    ibc_pyg_version: str = __version__
    metric: str = "cosine"
    normalized: bool = True

    @classmethod
    def read(cls, path: Path) -> PublishedConfig:
        """Read config.json.

        Raises:
            RunError: If it is damaged, of a newer version, or a key is missing, unknown or of a
                wrong type; the first is named.
        """
        values, name = read_json(path), printable(path)
        if values.get("library_name") != LIBRARY:
            raise RunError(f"{name} is not of a folder that `export --format hub` wrote")
        version = values.get("format")
        if type(version) is int and version > FORMAT:
            by = shown(str(values.get("ibc_pyg_version")))
            raise RunError(
                f"{name} has format {version}, written by ibc_pyg {by}, and this is "
                f"{__version__}, which reads format {FORMAT}; update ibc_pyg"
            )
        known = {field.name for field in fields(cls)}
        for key in sorted(known - values.keys()):
            raise RunError(f"{name}: the key {key} is missing; export the model again")
        for key in sorted(values.keys() - known):
            raise RunError(f"{name}: unknown key {shown(key)}; export the model again")
        for key, good in _TYPES.items():
            if not good(values[key]):
                raise RunError(f"{name}: {key} has a wrong value, {shown(repr(values[key]))}")
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """Return all attributes."""
        return asdict(self)


def _int(low: int, high: int) -> Any:
    return lambda value: type(value) is int and low <= value <= high


def _numbers(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) in (1, 3)
        and all(type(each) in (int, float) and math.isfinite(each) for each in value)
    )


def _texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


def _shape(value: Any) -> bool:
    side = _int(1, 4096)
    return isinstance(value, list) and len(value) == 3 and all(map(side, value))


_TYPES: dict[str, Any] = {
    "backbone": lambda value: isinstance(value, str),
    "backbone_args": lambda value: isinstance(value, dict),
    "embedding_dim": _int(1, 65_536),
    "image_size": _int(1, 4096),
    "resize": _int(1, 4096),
    "mean": _numbers,
    "std": _numbers,
    "image_shape": lambda value: value is None or _shape(value),
    "class_names": lambda value: value is None or _texts(value),
    "weights_sha256": lambda value: isinstance(value, str),
    "format": _int(1, FORMAT),
    "ibc_pyg_version": lambda value: isinstance(value, str),
    "metric": lambda value: value == "cosine",
    "normalized": lambda value: value is True,
}


@dataclass(frozen=True)
class Published:
    """An opened published folder.

    Attributes:
        path: The folder.
        stored: Its config.json.
        model: The network, in evaluation mode; without heads and message passing.
        transform: Preprocessing of its input.
        config: A configuration with what an embedder needs.
    """

    path: Path
    stored: PublishedConfig
    model: IntraBatchModel
    transform: Transform
    config: Config

    @property
    def image_shape(self) -> tuple[int, int, int] | None:
        """Height, width and channels that pictures are resized to first, or None."""
        shape = self.stored.image_shape
        return None if shape is None else (shape[0], shape[1], shape[2])


def is_published(folder: Path) -> bool:
    """Tell whether a folder is a published one; a run folder has config.yaml."""
    return (folder / CONFIG).is_file() and not (folder / "config.yaml").is_file()


def is_published_backbone(name: str) -> bool:
    """Tell whether a backbone can be published: a network of this package or of a library."""
    return name in backbone_names() or name.startswith(PREFIX)


def load_published(folder: Path) -> Published:
    """Open a published folder; nothing is unpickled, downloaded or imported from it.

    Raises:
        RunError: If a file is missing, damaged or of a newer version, or the weights do not fit:
            the first key that is missing, unexpected or of another size is named.
        ConfigError: If the network cannot be built, because timm is missing for example.
    """
    if not (folder / CONFIG).is_file():
        raise RunError(f"{printable(folder)} is not a published folder: it has no {CONFIG}")
    stored = PublishedConfig.read(folder / CONFIG)
    if not is_published_backbone(stored.backbone):
        raise RunError(
            f"{printable(folder / CONFIG)}: there is no backbone {shown(stored.backbone)}; "
            "code of others is not imported"
        )
    path = folder / WEIGHTS
    try:
        transform = transform_preset(
            "imagenet",
            image_size=stored.image_size,
            resize=stored.resize,
            mean=stored.mean,
            std=stored.std,
        )
        backbone = make_backbone(
            stored.backbone,
            stored.embedding_dim,
            in_channels=transform.channels,
            **stored.backbone_args,
        )
    except UserError as error:
        raise type(error)(f"{printable(folder / CONFIG)}: {error}") from error
    except TypeError as error:
        raise RunError(f"{printable(folder / CONFIG)}: backbone_args: {error}") from error
    fit_weights(backbone, read_weights(path), path)
    try:
        digest = file_digest(path)
    except OSError as error:
        raise RunError(f"{printable(path)} cannot be read: {reason(error)}") from error
    if digest != stored.weights_sha256:
        raise RunError(
            f"{printable(path)} is not the file that {CONFIG} names by weights_sha256; "
            "copy the whole folder again"
        )
    config = Config(
        data=DataConfig(transform="imagenet"),
        model=ModelConfig(
            backbone=stored.backbone,
            backbone_args=stored.backbone_args,
            embedding_dim=stored.embedding_dim,
            steps=0,
        ),
        train=TrainConfig(),
    )
    model = IntraBatchModel(backbone, None, [], nn.Identity()).eval()
    model.to(make_fabric(config.train).device)
    return Published(folder, stored, model, transform, config)


def fetch(name: str, revision: str | None = None) -> Path:
    """Return the local copy of a repository of the Hugging Face hub.

    Only config.json and safetensors files are downloaded.

    Raises:
        ConfigError: If huggingface_hub is missing, or the repository cannot be had.
    """
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError
    except ImportError as error:
        raise ConfigError(
            f"{shown(name)} is not a folder, and a hub name needs huggingface-hub: "
            'pip install "ibc-pyg[hub]"'
        ) from error
    try:
        wanted = [CONFIG, WEIGHTS, REFINER]
        return Path(snapshot_download(name, revision=revision, allow_patterns=wanted))
    except (HfHubHTTPError, HFValidationError, OSError, ValueError) as error:
        raise ConfigError(
            f"{shown(name)} is not a folder and cannot be downloaded from the hub: "
            f"{reason(error) if isinstance(error, OSError) else shown(str(error), 200)}"
        ) from error
