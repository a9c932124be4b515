"""A sampler: all batches of an epoch at once."""

import numpy as np


def balanced(labels, classes_per_batch, images_per_class, rng, steps=None):
    """Draw classes and their images at random, the same number for each class."""
    steps = steps or len(labels) // (classes_per_batch * images_per_class)
    rows = {label: np.flatnonzero(labels == label) for label in np.unique(labels)}
    return np.array(
        [
            np.concatenate(
                [
                    rng.choice(rows[label], images_per_class)
                    for label in rng.choice(list(rows), classes_per_batch, replace=False)
                ]
            )
            for _ in range(steps)
        ]
    )  # [steps, P * K]
