"""PK batches whose shape P x K is redrawn for each epoch."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ibc_pyg.data.sampling.base import PKSampler
from ibc_pyg.data.sampling.walk import walk_plan
from ibc_pyg.data.table import Rows


class RedrawnSampler(PKSampler):
    """`WalkSampler` with a batch shape redrawn for each epoch from all factorisations of P * K.

    54 images are 2 x 27, 3 x 18, 6 x 9, 9 x 6, 18 x 3 or 27 x 2, each equally likely, as in the
    released CUB configuration of https://arxiv.org/abs/2102.07753. Shapes with a single class or
    a single image per class are excluded (unless there are no others), and so are shapes with
    more classes than the data or fewer than processes. `len()` changes from epoch to epoch.
    """

    def factorisations(self) -> list[tuple[int, int]]:
        """Return the batch shapes `(classes, images)` that an epoch can have, never empty."""
        size, available = self.batch_size, len(self.rows_of_class)
        shapes = [
            (classes, size // classes)
            for classes in range(max(2, self.settings.world_size), min(size // 2, available) + 1)
            if size % classes == 0
        ]
        return shapes or [(self.settings.classes_per_batch, self.settings.images_per_class)]

    @property
    def largest_images_per_class(self) -> int:
        """The largest K that a batch can have."""
        return max(images for _, images in self.factorisations())

    def make_plan(self, rng: np.random.Generator) -> Rows:
        """Return the rows of all global batches of an epoch, int64 `[steps, P * K]`."""
        shapes: npt.NDArray[np.int64] = np.array(self.factorisations())
        P, K = (int(size) for size in rng.choice(shapes))
        return walk_plan(self.rows_of_class, P, K, rng, self.settings.drop_last)
