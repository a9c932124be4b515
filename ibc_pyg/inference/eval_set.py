"""Test images of a run and their embeddings, computed or read from the run folder."""

from __future__ import annotations

import hashlib
import io
import logging
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from ibc_pyg.builders.data import Data, build_data, recorded_data
from ibc_pyg.data.annotations.folders import present
from ibc_pyg.data.file_stamps import Stamps, file_stamps, replaced
from ibc_pyg.data.splits import Splits
from ibc_pyg.data.table import ImageTable, Role, Rows
from ibc_pyg.errors import RunError, printable, shown
from ibc_pyg.files import check_safetensors, file_digest, write_atomically
from ibc_pyg.inference.extract import (
    ONE_VIEW,
    Descriptors,
    EvalDescriptors,
    extract_split,
)
from ibc_pyg.inference.test_time_views import Views
from ibc_pyg.inference.trained import Trained
from ibc_pyg.metrics import protocol_for

_logger = logging.getLogger(__name__)

_STAMPS = "files"


class EvalSet:
    """Test images of a run, as it recorded them.

    The image files are only needed when an embedding is computed.

    Args:
        trained: The run.
        data: The images, if they are loaded already; None loads them on demand.
    """

    def __init__(self, trained: Trained, data: Data | None = None) -> None:
        self.trained = trained
        if data is not None:
            self.data = data

    @cached_property
    def data(self) -> Data:
        """The images with split, transform and cache.

        Raises:
            UserError: If the data set is missing, or differs from that of the run.
        """
        config, record = self.trained.config, self.trained.record
        if record is not None:
            return recorded_data(config, record)
        data = build_data(config.on_all_classes() if config.retrain else config)
        trained, now = self.trained.num_classes, data.splits.num_classes
        if trained != now:
            _logger.warning(
                "%s was trained on %d classes, but the data set has %d training classes now; test "
                "classes may have been trained on, since the run has no split.json",
                self.trained.run.path,
                trained,
                now,
            )
        return data

    @property
    def table(self) -> ImageTable:
        """Table of the images; for a data set in memory, possibly without pixels."""
        record = self.trained.record
        return self.data.table if record is None else record.table

    @property
    def splits(self) -> Splits:
        """Split of the images."""
        record = self.trained.record
        return self.data.splits if record is None else record.splits

    def path(self, row: int) -> str:
        """Return the file of an image, or its name in a data set in memory."""
        table = self.table
        return table.paths[row] if table.root is None else str(table.root / table.paths[row])

    def label(self, row: int) -> str:
        """Return the class name of an image."""
        return self.table.class_names[int(self.table.labels[row])]

    def picture_file(self, row: int) -> Path:
        """Return the file of an image; for a data set in memory, write it to the run as query.png.

        Raises:
            RunError: If query.png cannot be written.
        """
        table = self.data.table
        if table.images is None:
            return Path(self.path(row))
        path = self.trained.run.path / "query.png"
        content = io.BytesIO()
        Image.fromarray(table.images[row].squeeze()).save(content, "png")
        write_atomically(path, content.getvalue())
        return path

    def extract(self, views: Views = ONE_VIEW) -> EvalDescriptors:
        """Compute the embeddings of the test images.

        With `data.on_error` "skip", images that cannot be read are left out, with a warning.

        Args:
            views: Mirror image and crops whose embeddings are averaged.

        Raises:
            UserError: If there are no test images, or some are missing.
        """
        self.splits.tested()
        self._check_present()
        data = self.data
        described = extract_split(
            self.trained.fabric,
            self.trained.model,
            data,
            data.splits.tested(),
            batch_size=self.trained.config.evaluate.batch_size,
            views=views,
        )
        if data.skipped:
            first = next(iter(data.skipped.values())).partition(";")[0]
            _logger.warning("%d test images are left out: %s", len(data.skipped), first)
        if not len(described.queries.rows) or not len(described.candidates.rows):
            raise RunError(f"no test image of {self.trained.run.path} can be read")
        return described

    def _check_present(self) -> None:
        table, config = self.table, self.trained.config.data
        if table.root is None or self.trained.record is None or config.on_error == "skip":
            return
        test = table.where(Role.TEST)
        paths = [table.paths[row] for row in test]
        missing = np.flatnonzero(~present(table.root, paths))
        if len(missing):
            skip = ", or leave them out: --data.on_error skip" if len(missing) < len(test) else ""
            raise RunError(
                f"{len(missing):,} of {len(test):,} test images of {self.trained.run.path} are "
                f"missing under {printable(table.root)}, the first "
                f"{shown(paths[int(missing[0])], 200)}; restore them, or give their folder with "
                f"--data.root{skip}"
            )

    def descriptors(self) -> EvalDescriptors:
        """Return the embeddings of the test images, cached in the run folder.

        They are computed again if the weights, the list of images or the file of an image that is
        still there have changed.

        Raises:
            UserError: If there are no test images, or they are not cached and images are missing.
        """
        single = self.splits.tested().gallery is None
        cached = self._read("") if single else self._read("query_", "")
        if cached is not None:
            gallery = None if single else cached[1]
            return EvalDescriptors(cached[0], gallery, protocol_for(self.table.name))
        descriptors = self.extract()
        if self.data.skipped:
            return descriptors
        try:
            self.save(descriptors)
        except RunError as error:
            _logger.warning("the descriptors are not saved: %s", error)
        return descriptors

    def gallery(self) -> Descriptors:
        """Return the embeddings that queries are compared with; see `descriptors`."""
        self.splits.tested()
        cached = self._read("")
        return self.descriptors().candidates if cached is None else cached[0]

    def save(self, descriptors: EvalDescriptors) -> None:
        """Write embeddings to the run folder, with what they were computed from.

        These are hashes of the weights and of the image list, and sizes and times of the files.

        Raises:
            RunError: If the file cannot be written.
        """
        parts = {"": descriptors.candidates}
        if descriptors.gallery is not None:
            parts["query_"] = descriptors.queries
        tensors = {}
        for prefix, part in parts.items():
            tensors[f"{prefix}rows"] = torch.from_numpy(part.rows)
            tensors[f"{prefix}vectors"] = part.vectors
            if self.table.root is not None:
                stamps = file_stamps(self.table, part.rows)
                tensors[f"{prefix}{_STAMPS}"] = torch.from_numpy(stamps)
        content = save(tensors, metadata=self._origin())
        write_atomically(self.trained.run.descriptors, content)

    def _read(self, *prefixes: str) -> list[Descriptors] | None:
        """Return the cached parts; None if one is missing, or of other weights or images."""
        table = self.table
        parts = []
        try:
            check_safetensors(self.trained.run.descriptors)
            with safe_open(self.trained.run.descriptors, framework="pt") as file:
                if file.metadata() != self._origin():
                    return None
                kept = set(file.keys())
                for prefix in prefixes:
                    rows = file.get_tensor(f"{prefix}rows").numpy()
                    if len(rows) and not 0 <= rows.min() <= rows.max() < len(table):
                        return None
                    # Runs of earlier versions have no stamps.
                    if f"{prefix}{_STAMPS}" in kept:
                        stamps = file.get_tensor(f"{prefix}{_STAMPS}").numpy()
                        if self._replaced(rows, stamps):
                            return None
                    labels = torch.from_numpy(table.labels[rows])
                    parts.append(Descriptors(rows, file.get_tensor(f"{prefix}vectors"), labels))
        except (OSError, SafetensorError):
            return None
        return parts

    def _replaced(self, rows: Rows, stamps: Stamps) -> bool:
        changed = rows[replaced(stamps, file_stamps(self.table, rows))]
        if len(changed):
            _logger.warning(
                "%d test images have other files than when they were embedded, the first %s; "
                "they are embedded again",
                len(changed),
                self.path(int(changed[0])),
            )
        return len(changed) > 0

    def _origin(self) -> dict[str, str]:
        """Return hashes of the weights and of the image list."""
        table = self.table
        images = hashlib.sha256("\n".join(table.paths).encode(errors="surrogateescape"))
        images.update(table.labels.astype(np.int64).tobytes())
        images.update(table.roles.tobytes())
        weights = self.trained.digest or file_digest(self.trained.run.weights)
        return {"weights_sha256": weights, "images_sha256": images.hexdigest()}
