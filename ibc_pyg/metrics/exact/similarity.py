"""Similarity of queries to gallery items: a float32 bound, and exact values where it ties."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ibc_pyg.metrics.inputs import inverse_norms
from ibc_pyg.threads import map_in_threads

Metric = Literal["cosine", "euclidean"]

_PAIR_ENTRIES = 2**19


@dataclass(frozen=True)
class Similarity:
    """Two sets of vectors and the similarity of every query to every gallery item.

    A pair has two measures; larger means closer. The *exact* measure is minus the squared distance
    (between normalised vectors under the cosine metric), computed in float64 and rounded to 40
    bits. Equal vectors, and multiples of a vector by powers of two, tie; other pairs at equal
    distance tie too, except for about 1 in 1,000 that rounding separates. The *float32 bound* is
    the same up to a factor, from a float32 matrix product of vectors centred at the gallery's
    mean; its error is at most `tolerance`. The exact measure decides wherever the bound cannot, so
    that no result depends on chunk sizes, threads or the device.

    Attributes:
        raw_queries: `[Q, D]` as given, float32 or float64.
        raw_gallery: `[N, D]` as given.
        query_inverse: `[Q]` float64, inverse norms of the queries under the cosine metric.
        gallery_inverse: `[N]` float64, inverse norms of the gallery.
        queries: `[Q, D + 2]` float32, centred and scaled: (q, 1, -|q|^2 / 2).
        gallery: `[N, D + 2]` float32, likewise.
        slope: float32 bound = slope * exact, up to rounding.
        tolerance: `[Q]` float64, error of the float32 bound (exceeded with a probability below
            1e-13 per pair).
        largest: Upper limit of the magnitude of the float32 bound.
    """

    raw_queries: Tensor
    raw_gallery: Tensor
    query_inverse: Tensor | None
    gallery_inverse: Tensor | None
    queries: Tensor
    gallery: Tensor
    slope: float
    tolerance: Tensor
    largest: float

    def query_side(self, rows: Tensor) -> Tensor:
        """Return queries `[n]` as (q, -|q|^2 / 2, 1), float32 `[n, D + 2]`.

        Their product with `gallery.T` is the float32 bound.
        """
        return transposed(self.queries[rows])

    def exact(self, queries: Tensor, gallery: Tensor) -> Tensor:
        """Return the exact measure of pairs.

        Args:
            queries: Rows of the queries, int64 `[P]`.
            gallery: Rows of the gallery, int64 `[P]`.

        Returns:
            Minus the squared distance, float64 `[P]`, rounded to 40 bits.
        """
        out = torch.empty(len(queries), dtype=torch.float64, device=queries.device)
        step = max(1, _PAIR_ENTRIES // self.raw_queries.shape[1])
        for start in range(0, len(queries), step):
            q = self.raw_queries[queries[start : start + step]].double()  # [n, D]
            g = self.raw_gallery[gallery[start : start + step]].double()  # [n, D]
            if self.query_inverse is not None and self.gallery_inverse is not None:
                value = _cosine_squares(
                    q,
                    g,
                    self.query_inverse[queries[start : start + step]],
                    self.gallery_inverse[gallery[start : start + step]],
                )  # [n]
            else:
                value = (q - g).square_().sum(1)  # [n]
            out[start : start + step] = -_rounded(value)
        return out


def cosine_squares(queries: Tensor, gallery: Tensor) -> Tensor:
    """Return the squared distance of pairs of vectors after normalisation, exactly.

    It is that of `Similarity.exact` under the cosine metric.

    Args:
        queries: Float32 or float64 `[P, D]`.
        gallery: Likewise, the other vector of each pair.

    Returns:
        Float64 `[P]`, rounded to 40 bits: 2 - 2 cos, and 2 if one of the two vectors is zero.
    """
    out = torch.empty(len(queries), dtype=torch.float64, device=queries.device)
    for rows in _chunks(queries):
        q, g = queries[rows].double(), gallery[rows].double()  # [n, D]
        inverses = inverse_norms(q).squeeze(1), inverse_norms(g).squeeze(1)
        out[rows] = _rounded(_cosine_squares(q, g, *inverses))
    return out


def _cosine_squares(q: Tensor, g: Tensor, q_inverse: Tensor, g_inverse: Tensor) -> Tensor:
    """Return squared distances before rounding, float64 `[n]`; see `_chord` for the arguments."""
    q, q_scale = _near_unit(q, q_inverse)
    g, g_scale = _near_unit(g, g_inverse)
    # Law of cosines; it loses digits where the angle is small.
    apart = 1 / q_scale - 1 / g_scale  # [n]
    value = ((q - g).square_().sum(1) - apart.square()) * q_scale * g_scale  # [n]
    small = torch.nonzero(~(value > 0.01)).flatten()
    value[small] = _chord(q[small], g[small], q_scale[small], g_scale[small])
    return value


def _near_unit(x: Tensor, inverse: Tensor) -> tuple[Tensor, Tensor]:
    """Scale vectors by powers of two, which is exact, to norms in (1, 2].

    Args:
        x: Float64 `[n, D]`.
        inverse: Inverse norms `[n]`, 0 for a zero vector.

    Returns:
        Scaled vectors `[n, D]` and their inverse norms `[n]`.
    """
    mantissa, exponent = torch.frexp(inverse)  # [n]
    # Two factors: one alone can overflow where the product does not.
    half = exponent // 2
    return x * _power_of_two(half)[:, None] * _power_of_two(exponent - half)[:, None], mantissa


def _power_of_two(exponent: Tensor) -> Tensor:
    """Return 2 to the exponent, int32 `[n]` in -1022 to 1023, exactly, as float64."""
    return (exponent.long() + 1023 << 52).view(torch.float64)


def _rounded(value: Tensor) -> Tensor:
    """Round float64 to 40 bits."""
    bits = value.view(torch.int64)
    return ((bits + 2**12) & -(2**13)).view(torch.float64)


def _chord(q: Tensor, g: Tensor, q_scale: Tensor, g_scale: Tensor) -> Tensor:
    """Return the squared distance of normalised vectors, accurate for near-duplicates too.

    Args:
        q: Float64 `[n, D]`, before normalisation.
        g: Float64 `[n, D]`.
        q_scale: Inverse norms of q `[n]`, 0 for a zero vector.
        g_scale: Inverse norms of g `[n]`.

    Returns:
        Float64 `[n]`; 2 if one of the two is zero, 0 if both are.
    """
    chord = (q * q_scale[:, None] - g * g_scale[:, None]).square_().sum(1)  # [n]
    chord += (q_scale == 0) != (g_scale == 0)
    # Multiples of one vector differ by rounding after normalisation.
    chord.masked_fill_(chord < 2.0**-90, 0)
    # Normalising loses digits of small differences. Without it: the difference of the vectors
    # minus the part along them, which is a difference of norms.
    step = q - g  # [n, D]
    square = step.square().sum(1)  # [n]
    along = step.mul_(q + g).sum(1) / (1 / q_scale + 1 / g_scale)  # [n]
    across = square - along.square()  # [n]
    other = across * q_scale * g_scale  # [n]
    better = (square * other.clamp(min=0).sqrt() < across) & (across > square * 2.0**-46)
    better &= q_scale * g_scale > 0
    return torch.where(better, other, chord)


def transposed(x: Tensor) -> Tensor:
    """Swap the last two columns in place: gallery vectors become query vectors of the bound."""
    x[:, -2:] = x[:, -2:].flip(1)
    return x


def make_similarity(queries: Tensor, gallery: Tensor | None, metric: Metric) -> Similarity:
    """Prepare two sets for search; without a gallery the queries search each other.

    Args:
        queries: `[Q, D]`, float32 or float64, finite.
        gallery: `[N, D]` on the same device, or None.
        metric: "cosine" or "euclidean".

    Raises:
        ValueError: If the metric is unknown, dimensions differ, or numbers are too large or too
            small to compare.
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
    # A zero vector becomes a unit vector in an extra dimension: cosine 0 with all others.
    spare = any(v is not None and bool((v == 0).any()) for v in (g_inverse, q_inverse))
    mean, spread = _moments(base, g_inverse, spare)  # [D] or [D + 1]
    scale = 1 / spread if spread > 0 else 1.0
    g, g_size = _centred(base, g_inverse, spare, mean, scale)
    q, q_size = g, g_size
    if gallery is not None:
        q, q_size = _centred(queries, q_inverse, spare, mean, scale)
    reach = q_size * g_size.max()  # [Q]
    height = 0.5 * (q_size.square() + g_size.square().max())  # [Q]
    # The error of a float32 product of length D is at most D u |q| |g|; assuming independent
    # rounding errors, it exceeds 5 sqrt(D) u |q| |g| with a probability below 1e-13 (Higham and
    # Mary 2019, https://doi.org/10.1137/18M1226312; partial sums grow, hence 5 and not 8). The
    # other terms bound the rounding of the squares and of vectors far from the origin.
    dim = len(mean)
    tolerance = 2.0**-24 * ((min(dim, 5 * dim**0.5) + 8) * reach + 8 * height)  # [Q]
    far = float(mean.norm()) + spread * dim**0.5
    tolerance += 2.0**-48 * scale * far * (q_size + g_size.max())
    largest = float((reach + height).max())
    if not (largest < 2.0**120 and scale < 2.0**500):
        raise ValueError("embeddings are too large, too small or too far apart to compare")
    return Similarity(
        raw_queries=queries,
        raw_gallery=base,
        query_inverse=q_inverse,
        gallery_inverse=g_inverse,
        queries=q,
        gallery=g,
        slope=0.5 * scale**2,
        tolerance=tolerance,
        largest=largest,
    )


def _inverse(x: Tensor, metric: Metric) -> Tensor | None:
    """Return the inverse norm of every row, float64 `[N]`, or None if nothing is normalised."""
    if metric == "euclidean":
        return None
    parts = map_in_threads(
        lambda rows: inverse_norms(x[rows].double()).squeeze(1), _chunks(x), x.device
    )
    return torch.cat(list(parts))  # [N]


def _chunks(x: Tensor) -> Iterator[slice]:
    step = max(1, 2**19 // x.shape[1])
    return (slice(start, start + step) for start in range(0, len(x), step))


def _points(x: Tensor, inverse: Tensor | None, spare: bool, rows: slice) -> Tensor:
    """Return some of the vectors to compare, float64 `[n, D]` or `[n, D + 1]`."""
    part = x[rows].double()  # [n, D]
    if inverse is None:
        return part
    part = part * inverse[rows, None]
    return torch.cat([part, (inverse[rows, None] == 0).double()], 1) if spare else part


def _moments(x: Tensor, inverse: Tensor | None, spare: bool) -> tuple[Tensor, float]:
    """Return the mean, float64 `[D]`, and the RMS distance from it per dimension."""
    pivot = _points(x, inverse, spare, slice(0, 1))  # [1, D]
    mean = torch.zeros_like(pivot[0])  # [D]
    square = torch.zeros_like(mean)  # [D]

    def sums(rows: slice) -> tuple[Tensor, Tensor]:
        part = _points(x, inverse, spare, rows) - pivot  # [n, D]
        return part.sum(0), part.square_().sum(0)  # [D] each

    for total, squares in map_in_threads(sums, _chunks(x), x.device):
        mean += total / len(x)
        square += squares / len(x)
    variance = max(float((square - mean.square()).mean()), 1e-12 * float(square.mean()))
    return mean + pivot[0], variance**0.5


def _centred(
    x: Tensor, inverse: Tensor | None, spare: bool, mean: Tensor, scale: float
) -> tuple[Tensor, Tensor]:
    """Centre vectors: (x, 1, -|x|^2 / 2) in float32 `[N, D + 2]`, and |x| in float64 `[N]`."""
    dim = len(mean)
    out = torch.empty(len(x), dim + 2, dtype=torch.float32, device=mean.device)
    length = torch.empty(len(x), dtype=torch.float64, device=mean.device)

    def centre(rows: slice) -> None:
        moved = (_points(x, inverse, spare, rows) - mean).mul_(scale)  # [n, D]
        out[rows, :dim] = moved
        length[rows] = torch.linalg.vector_norm(moved, dim=1)  # [n]

    deque(map_in_threads(centre, _chunks(x), x.device), maxlen=0)
    out[:, dim] = 1
    out[:, dim + 1] = -0.5 * length.square()
    return out, length
