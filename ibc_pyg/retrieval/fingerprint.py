"""Identity of the model that made the vectors of an index."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Any

from ibc_pyg.errors import RunError, printable
from ibc_pyg.inference.embedder import Embedder
from ibc_pyg.nn.weights import weights_hash
from ibc_pyg.runs.environment import package_versions

_PACKAGES = ("ibc-pyg", "torch", "torchvision", "timm", "pillow", "numpy")


@dataclass(frozen=True)
class Fingerprint:
    """Everything that the vector of a picture depends on.

    Attributes:
        backbone: Name of the network.
        backbone_args: Its arguments.
        weights: SHA-256 of its weights, whatever file they are in.
        dim: Length D of a vector.
        transform: Sizes and normalisation of the input; augmentation does not matter.
        image_shape: Height, width and channels that pictures are given first, or None.
        precision: Precision of the forward pass; recorded, and not compared, because a machine may
            not have that of another.
        versions: Libraries that made the vectors; recorded, and not compared, because an update
            changes the numbers by rounding errors.
    """

    backbone: str
    backbone_args: dict[str, Any]
    weights: str
    dim: int
    transform: dict[str, Any]
    image_shape: list[int] | None
    precision: str
    versions: dict[str, str]

    @classmethod
    def of(cls, embedder: Embedder) -> Fingerprint:
        """Return the fingerprint of a model."""
        config, shape, t = embedder.config, embedder.image_shape, embedder.transform
        return cls(
            config.model.backbone,
            dict(config.model.backbone_args),
            weights_hash(embedder.backbone),
            embedder.dim,
            {
                "image_size": t.image_size,
                "resize": t.resize,
                "mean": list(t.mean),
                "std": list(t.std),
            },
            None if shape is None else list(shape),
            config.train.precision,
            package_versions(_PACKAGES),
        )

    @classmethod
    def from_json(cls, text: str) -> Fingerprint:
        """Read what `to_json` wrote.

        Raises:
            RunError: If it is anything else.
        """
        try:
            found = cls(**json.loads(text))
            kinds = (isinstance(found.dim, int), isinstance(found.versions, dict))
            if not (all(kinds) and found.dim > 0 and str(found)):
                raise ValueError("a value has a wrong type")
        except (ValueError, TypeError, LookupError, AttributeError) as error:
            raise RunError(
                f"the catalogue of the index is damaged: its model cannot be read ({error})"
            ) from error
        return found

    def to_json(self) -> str:
        """Return all attributes as JSON."""
        return json.dumps(asdict(self), sort_keys=True)

    @property
    def digest(self) -> str:
        """SHA-256 of what is compared: all attributes but precision and versions."""
        recorded = ("precision", "versions")
        values = {k: v for k, v in json.loads(self.to_json()).items() if k not in recorded}
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()

    def __str__(self) -> str:
        """Return a phrase that differs wherever the digest does."""
        size = self.transform["image_size"]
        return printable(
            f"{self.backbone} ({self.dim}-d, {size} px, weights {self.weights[:12]}, "
            f"fingerprint {self.digest[:12]})"
        )
