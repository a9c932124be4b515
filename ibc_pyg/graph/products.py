"""Scalar products of all pairs of rows, by the faster of the libraries that torch brings along.

torch multiplies float32 matrices on the CPU by Intel's MKL, which keeps processors of other makers
to AVX2. oneDNN, which torch reaches for tensors of its kind, uses whatever the processor has: twice
as fast on one with AVX-512 that is not Intel's. It also gives equal rows equal products, where MKL
rounds the last few rows of a matrix in another way. https://pytorch.org/docs/stable/backends.html
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def pair_products(left: Tensor, right: Tensor, out: Tensor | None = None) -> Tensor:
    """Multiply every row of one matrix with every row of another, without gradient.

    Args:
        left: [n, D] float32.
        right: [m, D] float32, on the same device.
        out: [n, m] float32; memory that may be used for the result.

    Returns:
        [n, m]; with oneDNN, products of equal rows are equal.
    """
    if left.device.type != "cpu" or not _has_onednn():
        return torch.mm(left, right.T, out=out)  # [n, m]
    with torch.no_grad():
        return F.linear(left.to_mkldnn(), right.to_mkldnn()).to_dense()  # [n, m]


def _has_onednn() -> bool:
    return bool(torch.backends.mkldnn.is_available())  # type: ignore[no-untyped-call]
