"""Checks of embeddings and labels, shared by every metric."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = Tensor | NDArray[np.generic]
LabelArray = Array | Sequence[int] | Sequence[str]


def as_embeddings(values: Array, name: str, *, device: torch.device | str | None = None) -> Tensor:
    """Return embeddings as a checked tensor.

    Args:
        values: `[N, D]`, numpy or torch, any floating or integer dtype.
        name: Name of the argument in error messages.
        device: Device of the result; None keeps the device of a tensor.

    Returns:
        `[N, D]`, float32, or float64 if `values` is float64 or of integers; not copied if possible.

    Raises:
        ValueError: If `values` is not two-dimensional, empty, not numeric, NaN or infinite.
    """
    if not isinstance(values, Tensor):
        array = np.asarray(values)
        if array.dtype.kind not in "fiu":
            raise ValueError(f"{name} has dtype {array.dtype}, expected real numbers")
        if array.dtype.kind in "iu" or not array.dtype.isnative or array.dtype.itemsize > 8:
            array = array.astype(np.float64)
        values = torch.from_numpy(np.ascontiguousarray(array))
    if values.is_complex() or values.dtype == torch.bool:
        raise ValueError(f"{name} has dtype {values.dtype}, expected real numbers")
    if values.ndim != 2:
        raise ValueError(f"{name} has shape {tuple(values.shape)}, expected [N, D]")
    if values.numel() == 0:
        raise ValueError(f"{name} is empty (shape {tuple(values.shape)})")
    wide = values.dtype == torch.float64 or not values.is_floating_point()
    out = values.detach().to(device=device, dtype=torch.float64 if wide else torch.float32)
    # The sum of a row is finite if all entries are, unless it overflows: then check each entry.
    suspects = torch.nonzero(~torch.isfinite(out.sum(1))).flatten()  # [n]
    bad = [int(i) for i in suspects.tolist() if not bool(torch.isfinite(out[i]).all())]
    if bad:
        raise ValueError(
            f"{name} has NaN or infinite values in {len(bad)} of {len(out)} rows, "
            f"first in row {bad[0]}"
        )
    return out


def as_labels(values: LabelArray, name: str, length: int, of: str) -> NDArray[np.generic]:
    """Return labels as a checked one-dimensional numpy array.

    Args:
        values: `[N]` integers or strings: numpy, torch or a sequence.
        name: Name of the argument in error messages.
        length: Number of embeddings that the labels belong to.
        of: Name of those embeddings.

    Raises:
        ValueError: If `values` is not one-dimensional, of another length, or holds neither
            integers nor strings.
    """
    array = _label_array(values)
    if array.ndim != 1:
        raise ValueError(f"{name} has shape {array.shape}, expected [N]")
    if len(array) != length:
        raise ValueError(f"{name} has {len(array)} entries, but {of} has {length} rows")
    # Floats beyond 2 ** 53 cannot represent all integers: labels may have been merged.
    if array.dtype.kind == "f" and bool((np.abs(array) < 2.0**53).all()):
        whole = array.astype(np.int64)
        array = whole if np.array_equal(array, whole) else array
    if array.dtype.kind == "O" and all(isinstance(each, str) for each in array):
        array = array.astype(np.str_)
    if array.dtype.kind == "S":
        try:
            array = np.char.decode(array.astype(np.bytes_), "utf-8")
        except UnicodeDecodeError:
            raise ValueError(f"{name} are bytes that are not UTF-8 text") from None
    if array.dtype.kind not in "iubU":
        raise ValueError(
            f"{name} has dtype {array.dtype}, expected integers that fit into 64 bits, or strings"
        )
    return array


def _label_array(values: LabelArray) -> NDArray[np.generic]:
    if isinstance(values, Tensor):
        values = values.detach().cpu()
        return (values.double() if values.is_floating_point() else values).numpy()
    if not isinstance(values, np.ndarray):
        # numpy would turn numbers beside strings into strings, and large ones into floats.
        array = np.asarray(values, dtype=object)
        kinds = {isinstance(each, str | bytes) for each in array.ravel()}
        if len(kinds) > 1:
            return array
    return np.asarray(values)


def as_ks(ks: Sequence[int]) -> tuple[int, ...]:
    """Return the K of R@K as integers.

    Raises:
        ValueError: If there is none, or one is not a whole number from 1 to 2 ** 31.
    """
    try:
        values = tuple(int(k) for k in ks)
        fine = len(values) > 0 and values == tuple(ks) and 1 <= min(values) <= max(values) <= 2**31
    except (TypeError, ValueError, OverflowError):
        fine = False
    if not fine:
        raise ValueError(f"ks is {ks!r}, expected whole numbers from 1")
    return values


def class_indices(
    labels: NDArray[np.generic], gallery_labels: NDArray[np.generic] | None
) -> tuple[Tensor, Tensor]:
    """Number the classes from 0: int64 `[Q]` of the queries and `[N]` of the gallery."""
    if gallery_labels is None:
        _, inverse = np.unique(labels, return_inverse=True)
        classes = torch.from_numpy(inverse.astype(np.int64))
        return classes, classes
    if (labels.dtype.kind == "U") != (gallery_labels.dtype.kind == "U"):
        raise ValueError(
            f"labels have dtype {labels.dtype}, gallery_labels {gallery_labels.dtype}: "
            "give integers or strings for both"
        )
    if labels.dtype.kind != gallery_labels.dtype.kind:
        # Python's numbers compare exactly where numpy's common type would be a float.
        labels, gallery_labels = labels.astype(object), gallery_labels.astype(object)
    _, inverse = np.unique(np.concatenate([labels, gallery_labels]), return_inverse=True)
    classes = torch.from_numpy(inverse.astype(np.int64))
    return classes[: len(labels)], classes[len(labels) :]


def inverse_norms(x: Tensor) -> Tensor:
    """Return the inverse norm of every row, `[N, 1]`; 0 for a zero row (its cosines are 0)."""
    scale = x.abs().amax(1, keepdim=True)  # [N, 1], keeps the squares from overflowing
    safe = torch.where(scale > 0, scale, 1)
    return torch.where(scale > 0, 1 / ((x / safe).norm(dim=1, keepdim=True) * safe), 0)
