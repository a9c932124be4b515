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

    There are two measures of a pair, larger is closer. The *exact* measure is minus the squared
    distance (of normalised vectors, under the cosine metric), taken in float64 and rounded to 40
    bits: pairs of equal vectors, or of their multiples by powers of two, come out equal, and so do
    other equally close pairs, but for a chance of about 1 in 1,000 that rounding parts them. The
    *screen* is the same up to a factor, from a float32 matrix product of vectors around the
    gallery's mean; it is off by no more than `tolerance`. Whatever the screen cannot tell apart is
    decided by the exact measure: no result depends on the sizes of chunks, on threads or on the
    device.

    Attributes:
        raw_queries: [Q, D] as given, float32 or float64.
        raw_gallery: [N, D] as given.
        query_inverse: [Q] float64, one over the queries' lengths, under the cosine metric.
        gallery_inverse: [N] float64.
        queries: [Q, D + 2] float32, centred and scaled: (q, 1, -|q|^2 / 2).
        gallery: [N, D + 2] float32, likewise.
        slope: screen = slope * exact, but for rounding.
        tolerance: [Q] float64, bound on the screen's error (but for a chance below 1e-13 a pair).
        bound: no screen value is larger than this in size.

    """

    raw_queries: Tensor
    raw_gallery: Tensor
    query_inverse: Tensor | None
    gallery_inverse: Tensor | None
    queries: Tensor
    gallery: Tensor
    slope: float
    tolerance: Tensor
    bound: float

    def left(self, rows: Tensor) -> Tensor:
        """Take queries [n] as (q, -|q|^2 / 2, 1), [n, D + 2]: times `gallery.T` is the screen."""
        return swapped(self.queries[rows])

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
            if self.query_inverse is not None and self.gallery_inverse is not None:
                q, q_scale = _near_unit(q, self.query_inverse[queries[start : start + step]])
                g, g_scale = _near_unit(g, self.gallery_inverse[gallery[start : start + step]])
                # The law of cosines; it costs digits where the angle is small.
                apart = 1 / q_scale - 1 / g_scale  # [n]
                value = ((q - g).square_().sum(1) - apart.square()) * q_scale * g_scale  # [n]
                small = torch.nonzero(~(value > 0.01)).flatten()
                value[small] = _chord(q[small], g[small], q_scale[small], g_scale[small])
            else:
                value = (q - g).square_().sum(1)  # [n]
            out[start : start + step] = -_rounded(value)
        return out


def _near_unit(x: Tensor, inverse: Tensor) -> tuple[Tensor, Tensor]:
    """Multiply vectors by powers of two, which is exact, so that all are about as long.

    Args:
        x: [n, D] float64.
        inverse: [n] one over the vectors' lengths, 0 for a zero vector.

    Returns:
        [n, D] of lengths in (1, 2], and [n] one over these.

    """
    mantissa, exponent = torch.frexp(inverse)  # [n]
    # Two factors: one alone can overflow where the product does not.
    half = exponent // 2
    return x * _power_of_two(half)[:, None] * _power_of_two(exponent - half)[:, None], mantissa


def _power_of_two(exponent: Tensor) -> Tensor:
    """Make 2 to the exponent, [n] int32 in -1022 to 1023, exactly, as float64."""
    return (exponent.long() + 1023 << 52).view(torch.float64)


def _rounded(value: Tensor) -> Tensor:
    """Round float64 to 40 bits."""
    bits = value.view(torch.int64)
    return ((bits + 2**12) & -(2**13)).view(torch.float64)


def _chord(q: Tensor, g: Tensor, q_scale: Tensor, g_scale: Tensor) -> Tensor:
    """Square the distance between normalised vectors, accurately for near-duplicates too.

    Args:
        q: [n, D] float64, before normalisation.
        g: [n, D] float64.
        q_scale: [n] one over the length of q, 0 for a zero vector.
        g_scale: [n]

    Returns:
        [n] float64; 2 if one of both is zero, 0 if both are.

    """
    chord = (q * q_scale[:, None] - g * g_scale[:, None]).square_().sum(1)  # [n]
    chord += (q_scale == 0) != (g_scale == 0)
    # Multiples of one vector differ by rounding after normalisation.
    chord.masked_fill_(chord < 2.0**-90, 0)
    # Normalising costs digits of small differences. Without it: the difference of the vectors,
    # less the part of it that is a difference of lengths.
    step = q - g  # [n, D]
    square = step.square().sum(1)  # [n]
    along = step.mul_(q + g).sum(1) / (1 / q_scale + 1 / g_scale)  # [n]
    across = square - along.square()  # [n]
    other = across * q_scale * g_scale  # [n]
    better = (square * other.clamp(min=0).sqrt() < across) & (across > square * 2.0**-46)
    better &= q_scale * g_scale > 0
    return torch.where(better, other, chord)


def swapped(x: Tensor) -> Tensor:
    """Turn the right side of a screen into the left side, in place."""
    x[:, -2:] = x[:, -2:].flip(1)
    return x


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
    if metric == "euclidean" and 0 < float(base.abs().max()) < 2.0**-400:
        raise ValueError("embeddings are too small to compare")
    if base.shape[1] != queries.shape[1]:
        raise ValueError(
            f"gallery has {base.shape[1]} dimensions, embeddings have {queries.shape[1]}"
        )
    g_inverse = _inverse(base, metric)  # [N] or None
    q_inverse = g_inverse if gallery is None else _inverse(queries, metric)  # [Q] or None
    # A zero vector becomes a unit vector of a dimension of its own: cosine 0 with all others.
    spare = any(v is not None and bool((v == 0).any()) for v in (g_inverse, q_inverse))
    mean, spread = _moments(base, g_inverse, spare)  # [D] or [D + 1]
    scale = 1 / spread if spread > 0 else 1.0
    g, g_size = _centred(base, g_inverse, spare, mean, scale)
    q, q_size = g, g_size
    if gallery is not None:
        q, q_size = _centred(queries, q_inverse, spare, mean, scale)
    reach = q_size * g_size.max()  # [Q]
    height = 0.5 * (q_size.square() + g_size.square().max())  # [Q]
    # A float32 product of length D is off by at most D u |q| |g|; with roundings that do not
    # conspire, by 5 sqrt(D) u |q| |g| with a chance below 1e-13 (Higham and Mary 2019,
    # https://doi.org/10.1137/18M1226312; partial sums grow, hence 5 and not 8). The rest pays for
    # rounding and adding the squares, and for vectors far from the origin.
    dim = len(mean)
    tolerance = 2.0**-24 * ((min(dim, 5 * dim**0.5) + 8) * reach + 8 * height)  # [Q]
    far = float(mean.norm()) + spread * dim**0.5
    tolerance += 2.0**-48 * scale * far * (q_size + g_size.max())
    bound = float((reach + height).max())
    if not (bound < 2.0**120 and scale < 2.0**500):
        raise ValueError("embeddings are too large, too small or too far apart to compare")
    return Space(
        raw_queries=queries,
        raw_gallery=base,
        query_inverse=q_inverse,
        gallery_inverse=g_inverse,
        queries=q,
        gallery=g,
        slope=0.5 * scale**2,
        tolerance=tolerance,
        bound=bound,
    )


def _inverse(x: Tensor, metric: Metric) -> Tensor | None:
    """Find what to multiply every row with, [N] float64, or None for nothing."""
    if metric == "euclidean":
        return None
    return torch.cat([inverse_norms(x[rows].double()).squeeze(1) for rows in _chunks(x)])


def _chunks(x: Tensor) -> Iterator[slice]:
    step = max(1, 2**19 // x.shape[1])
    return (slice(start, start + step) for start in range(0, len(x), step))


def _points(x: Tensor, inverse: Tensor | None, spare: bool, rows: slice) -> Tensor:
    """Read some of the vectors that are compared, [n, D] or [n, D + 1] float64."""
    part = x[rows].double()  # [n, D]
    if inverse is None:
        return part
    part = part * inverse[rows, None]
    return torch.cat([part, (inverse[rows, None] == 0).double()], 1) if spare else part


def _moments(x: Tensor, inverse: Tensor | None, spare: bool) -> tuple[Tensor, float]:
    """Find the mean, [D] float64, and the root mean square distance from it per dimension."""
    pivot = _points(x, inverse, spare, slice(0, 1))  # [1, D]
    mean = torch.zeros_like(pivot[0])  # [D]
    square = torch.zeros_like(mean)  # [D]
    for rows in _chunks(x):
        part = _points(x, inverse, spare, rows) - pivot  # [n, D]
        mean += part.sum(0) / len(x)
        square += part.square_().sum(0) / len(x)
    variance = max(float((square - mean.square()).mean()), 1e-12 * float(square.mean()))
    return mean + pivot[0], variance**0.5


def _centred(
    x: Tensor, inverse: Tensor | None, spare: bool, mean: Tensor, scale: float
) -> tuple[Tensor, Tensor]:
    """Move vectors to the mean: (x, 1, -|x|^2 / 2) in float32, [N, D + 2], and |x|, [N]."""
    dim = len(mean)
    out = torch.empty(len(x), dim + 2, dtype=torch.float32, device=mean.device)
    length = torch.empty(len(x), dtype=torch.float64, device=mean.device)
    for rows in _chunks(x):
        moved = (_points(x, inverse, spare, rows) - mean).mul_(scale)  # [n, D]
        out[rows, :dim] = moved
        length[rows] = torch.linalg.vector_norm(moved, dim=1)  # [n]
    out[:, dim] = 1
    out[:, dim + 1] = -0.5 * length.square()
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
