"""Record of an index in the metadata of a collection of Qdrant."""

from __future__ import annotations

import uuid
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from ibc_pyg.errors import RunError, printable, program
from ibc_pyg.inference.embedder import ModelSource
from ibc_pyg.retrieval.fingerprint import Fingerprint

if TYPE_CHECKING:
    from qdrant_client import QdrantClient

KEY = "ibc_pyg"
"""Key of the metadata of a collection."""
THRESHOLD = 20_000
"""`indexing_threshold` that a server without a valid one gets, in kB, as is Qdrant's default."""
_NAMESPACE = uuid.UUID("6f3d3c3e-9d0b-5f58-9a0e-1f4f7a6c2b10")


@dataclass(frozen=True)
class CollectionRecord:
    """Metadata of a collection.

    Attributes:
        fingerprint: The model that made the vectors.
        place: Where the model can be opened again; None if that is not known.
        threshold: `indexing_threshold` to be restored after an upload.
        complete: Whether the last upload came to its end.
    """

    fingerprint: Fingerprint
    place: ModelSource | None
    threshold: int
    complete: bool

    def metadata(self) -> dict[str, Any]:
        """Return the metadata."""
        values = {
            "model": self.fingerprint.to_json(),
            "place": None if self.place is None else asdict(self.place),
            "indexing_threshold": self.threshold,
            "complete": self.complete,
        }
        return {KEY: values}


def point_id(sha256: str) -> str:
    """Return the id of a picture: a UUID of version 5 of the hash of its content."""
    return str(uuid.uuid5(_NAMESPACE, sha256))


def read_record(client: QdrantClient, collection: str) -> CollectionRecord:
    """Read the metadata of a collection.

    Raises:
        RunError: If there is no such collection, or it was made by another program.
    """
    name = printable(collection)
    if not client.collection_exists(collection):
        raise RunError(
            f"there is no collection {name}; make it: {program()} index push INDEX --qdrant URL "
            f"--collection {name}"
        )
    metadata = client.get_collection(collection).config.metadata or {}
    try:
        values = metadata[KEY]
        place = ModelSource.of(values["place"])
        fingerprint = Fingerprint.from_json(values["model"])
        threshold, complete = int(values["indexing_threshold"]), bool(values["complete"])
        return CollectionRecord(fingerprint, place, threshold, complete)
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(
            f"the collection {name} was not made by index push; choose another --collection"
        ) from error


def check_model(collection: str, made_by: Fingerprint, given: Fingerprint) -> None:
    """Check that a model is that of a collection.

    Raises:
        RunError: If it is another one; both are named.
    """
    if made_by.digest != given.digest:
        raise RunError(
            f"the collection {printable(collection)} was made by {made_by}, not by {given}; use "
            "that model, or another --collection"
        )
