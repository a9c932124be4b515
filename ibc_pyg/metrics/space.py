"""Closeness of queries to gallery items: fast in float32 with a bound, exact where that ties."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ibc_pyg.metrics.inputs import inverse_norms

Metric = Literal["cosine", "euclidean"]

_PAIR_ENTRIES = 2**19


@dataclass(frozen=True)
class Space:
    """Two sets of vectors and how close each query is to each gallery item.

    There are two measures, larger is closer in both. The *screen* is a float32 matrix product of
    vectors around the gallery's mean (closeness under either metric changes by a constant per
    query only), off by no more than `tolerance`. The *exact* measure takes pairs in float64 and
    rounds to 40 bits, so that equal pairs come out equal in any order of summation. Whatever the
    screen cannot tell apart is decided by the exact measure: no result depends on the sizes of
    chunks, on threads or on the device.

    Attributes:
        metric: "cosine" or "euclidean".
        raw_queries: [Q, D] as given, float32 or float64.
        raw_gallery: [N, D] as given.
        queries: [Q, D] float32, centred and scaled.
        gallery: [N, D] float32, centred and scaled.
        bias: [N] float32, added to the product.
        offset: [Q] float64 and
        slope: screen = slope * exact + offset, but for rounding.
        tolerance: [Q] float64, bound on the screen's error.
        bound: no screen value is larger than this in size.

    """

    metric: Metric
    raw_queries: Tensor
    raw_gallery: Tensor
    queries: Tensor
    gallery: Tensor
    bias: Tensor
    offset: Tensor
    slope: float
    tolerance: Tensor
    bound: float

    def screen(self, queries: Tensor, gallery: Tensor, bias: Tensor, out: Tensor) -> Tensor:
        """Measure rows of `self.queries` against rows of `self.gallery`: [n, M] float32."""
        return torch.addmm(bias, queries, gallery.T, out=out)

    def exact(self, queries: Tensor, gallery: Tensor) -> Tensor:
        """Measure pairs given by two index tensors [P]: minus the squared distance.

        Returns:
            [P] float64, rounded to 40 bits; between normalised vectors if the metric is cosine.

        """
        out = torch.empty(len(queries), dtype=torch.float64, device=queries.device)
        step = max(1, _PAIR_ENTRIES // self.raw_queries.shape[1])
        for start in range(0, len(queries), step):
            q = self.raw_queries[queries[start : start + step]].double()  # [n, D]
            g = self.raw_gallery[gallery[start : start + step]].double()  # [n, D]
            if self.metric == "cosine":
                q_inverse, g_inverse = inverse_norms(q), inverse_norms(g)  # [n, 1]
                value = (q * q_inverse - g * g_inverse).square_().sum(1)  # [n]
                value += ((q_inverse == 0) != (g_inverse == 0)).squeeze(1)
                # Multiples of one vector differ by rounding after normalisation.
                value.masked_fill_(value < 2.0**-90, 0)
            else:
                value = (q - g).square_().sum(1)  # [n]
            mantissa, exponent = torch.frexp(value)
            mantissa = torch.round(mantissa * 2.0**40) * 2.0**-40
            out[start : start + step] = -torch.ldexp(mantissa, exponent)
        return out

    def from_screen(self, screen: Tensor, queries: Tensor) -> Tensor:
        """Turn screen values [P] back into minus squared distances, [P] float64."""
        return (screen.double() - self.offset[queries]) / self.slope


def make_space(queries: Tensor, gallery: Tensor | None, metric: Metric) -> Space:
    """Prepare two sets for search; without a gallery the queries are searched among themselves.

    Args:
        queries: [Q, D], float32 or float64, finite.
        gallery: [N, D] on the same device, or None.
        metric: "cosine" or "euclidean".

    Raises:
        ValueError: an unknown metric, different dimensions, or numbers too large to compare.

    """
    if metric not in ("cosine", "euclidean"):
        raise ValueError(f"metric is {metric!r}, expected 'cosine' or 'euclidean'")
    base = queries if gallery is None else gallery
    if base.shape[1] != queries.shape[1]:
        raise ValueError(
            f"gallery has {base.shape[1]} dimensions, embeddings have {queries.shape[1]}"
        )
    # A zero vector becomes a unit vector of a dimension of its own: cosine 0 with all others.
    spare = metric == "cosine" and (_has_zero_row(queries) or _has_zero_row(base))
    total = sum(part.sum(0) for part in _points(base, metric, spare))
    assert isinstance(total, Tensor)
    mean = total / len(base)  # [D] or [D + 1]
    spread = max(float((part - mean).abs().max()) for part in _points(base, metric, spare))
    scale = 1 / spread if spread > 0 else 1.0
    g, g_size = _centred(_points(base, metric, spare), mean, scale, len(base))
    q, q_size = g, g_size
    if gallery is not None:
        q, q_size = _centred(_points(queries, metric, spare), mean, scale, len(queries))
    bias = -0.5 * g_size.square()  # [N]
    reach = q_size * g_size.max()  # [Q]
    height = float(bias.abs().max())
    # Any order of summation in float32 stays within D u |q| |g| (Higham, "Accuracy and Stability
    # of Numerical Algorithms", section 3.1); the rest pays for rounding the vectors and the bias.
    tolerance = 1.1 * 2.0**-24 * ((len(mean) + 8) * reach + 4 * height)  # [Q]
    # And this for the rounding of vectors far from the origin before they are centred.
    far = float(mean.norm()) + spread * len(mean) ** 0.5
    tolerance += 2.0**-48 * scale * far * (q_size + g_size.max())
    bound = float(reach.max()) + height
    if not (bound < 2.0**120 and scale < 2.0**500):
        raise ValueError("embeddings are too large, too small or too far apart to compare")
    return Space(
        metric=metric,
        raw_queries=queries,
        raw_gallery=base,
        queries=q,
        gallery=g,
        bias=bias.float(),
        offset=0.5 * q_size.square(),
        slope=0.5 * scale**2,
        tolerance=tolerance,
        bound=bound,
    )


def _has_zero_row(x: Tensor) -> bool:
    return any(bool((part.abs().amax(1) == 0).any()) for part in x.split(_chunk(x)))


def _chunk(x: Tensor) -> int:
    return max(1, 2**22 // x.shape[1])


def _points(x: Tensor, metric: Metric, spare: bool) -> Iterator[Tensor]:
    """Yield the vectors to be compared, float64, some rows at a time."""
    for start in range(0, len(x), _chunk(x)):
        part = x[start : start + _chunk(x)].double()  # [n, D]
        if metric == "cosine":
            inverse = inverse_norms(part)  # [n, 1]
            part = part * inverse
            if spare:
                part = torch.cat([part, (inverse == 0).double()], 1)  # [n, D + 1]
        yield part


def _centred(
    points: Iterator[Tensor], mean: Tensor, scale: float, count: int
) -> tuple[Tensor, Tensor]:
    """Move vectors to the mean: float32 [N, D], and their lengths, float64 [N]."""
    out = torch.empty(count, len(mean), dtype=torch.float32, device=mean.device)
    length = torch.empty(count, dtype=torch.float64, device=mean.device)
    start = 0
    for part in points:
        moved = (part - mean) * scale  # [n, D]
        out[start : start + len(part)] = moved
        length[start : start + len(part)] = moved.norm(dim=1)  # [n]
        start += len(part)
    return out, length


@contextmanager
def plain_float32() -> Iterator[None]:
    """Keep matrix products in float32 proper: no TF32, no bfloat16, no autocast."""
    precision = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with (
            torch.no_grad(),
            torch.autocast("cpu", enabled=False),
            torch.autocast("cuda", enabled=False),
        ):
            yield
    finally:
        torch.set_float32_matmul_precision(precision)
