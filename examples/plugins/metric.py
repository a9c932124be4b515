"""A metric of descriptors and labels, beside those of the package."""

from torch import Tensor


def class_margin(
    descriptors: Tensor,
    labels: Tensor,
    gallery: Tensor | None = None,
    gallery_labels: Tensor | None = None,
) -> float:
    """Return the mean similarity within classes minus that between classes."""
    others = descriptors if gallery is None else gallery  # [M, D]
    same = labels[:, None] == (labels if gallery_labels is None else gallery_labels)  # [N, M]
    similarity = descriptors @ others.T  # [N, M]
    return float(similarity[same].mean() - similarity[~same].mean())
