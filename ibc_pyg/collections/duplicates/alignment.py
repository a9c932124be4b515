"""Alignment and comparison of pairs of small pictures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from ibc_pyg.collections.duplicates.small import Grey

_MOST = 0.16
"""Most that scales and shifts are changed, in half widths of the picture."""
_LIKELY = 0.7
"""Correlation at a quarter of the size below which a pair is not compared further."""
_NESTED = 0.006
"""Half widths by which the frame of a copy may exceed that of its original: 0.2 pixels."""


@dataclass(frozen=True)
class Likeness:
    """Likeness of pairs of pictures.

    Attributes:
        similarity: Correlation of the details of the aligned pictures, float32 `[P]`, at most 1.
        nested: Whether the frame of one lies within that of the other, bool `[P]`, as that of a
            copy or a cut-out does. A camera that moved shows something new on one side.
    """

    similarity: npt.NDArray[np.float32]
    nested: npt.NDArray[np.bool_]


@torch.no_grad()
def compare(first: Grey, second: Grey) -> Likeness:
    """Align pairs of pictures and compare them.

    The frame of the second is moved and stretched along both axes so that it fits the first
    (Gauss-Newton from coarse to fine, Lucas and Kanade 1981), which takes back a cut of a few per
    cent. The similarity is the correlation of what differs from its surroundings of 5 x 5 pixels
    at 32 x 32 pixels, in the common part.

    Args:
        first: uint8 `[P, SIDE, SIDE]`.
        second: uint8 `[P, SIDE, SIDE]`.
    """
    similarity = np.zeros(len(first), np.float32)
    nested = np.zeros(len(first), np.bool_)
    a, b = (torch.from_numpy(each.copy()).float() for each in (first, second))  # [P, S, S]
    a16, b16 = _half(_half(a)), _half(_half(b))  # [P, 16, 16]
    p = _fit(_blur(a16, 1), _blur(b16, 1), a.new_zeros(len(a), 4), 6)
    p = _fit(a16, b16, p, 4)
    warped, inside = _warp(b16, p)
    likely = correlation(a16, warped, inside) >= _LIKELY
    if bool(likely.any()):
        chosen = likely.numpy()
        similarity[chosen], nested[chosen] = _finely(a[likely], b[likely], p[likely])
    return Likeness(similarity, nested)


def _finely(
    a: Tensor, b: Tensor, p: Tensor
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    p = _fit(_half(a), _half(b), p, 4)
    warped, inside = _warp(b, p)
    a, warped, inside = _half(a), _half(warped), _half(inside)  # [P, 32, 32]
    similarity = correlation(a - _blur(a, 2), warped - _blur(warped, 2), (inside > 0.99).float())
    scale, shift = 1 + p[:, ::2], p[:, 1::2].abs()  # [P, 2]
    beyond, within = (scale + shift - 1).amax(1), (1 + shift - scale).amax(1)  # [P]
    nested = torch.minimum(beyond, within) <= _NESTED
    return similarity.numpy(), nested.numpy()


def correlation(a: Tensor, b: Tensor, mask: Tensor) -> Tensor:
    """Return the correlation of pairs of pictures where a mask is 1, float32 `[P]`."""
    number = mask.sum((1, 2), keepdim=True).clamp(min=1)
    parts = []
    for x in (a, b):
        centred = (x - (x * mask).sum((1, 2), keepdim=True) / number) * mask  # [P, s, s]
        parts.append(centred)
    norms = [part.square().sum((1, 2)).sqrt() for part in parts]
    return (parts[0] * parts[1]).sum((1, 2)) / (norms[0] * norms[1]).clamp(min=1e-6)


def _fit(a: Tensor, b: Tensor, p: Tensor, steps: int) -> Tensor:
    """Improve the frames p `[P, 4]`: scale and shift across, scale and shift down."""
    side = a.shape[-1]
    y, x = _grid(side)
    for _ in range(steps):
        w, m = _warp(b, p)
        dx, dy = torch.zeros_like(w), torch.zeros_like(w)
        dx[:, :, 1:-1] = (w[:, :, 2:] - w[:, :, :-2]) * (side / 4)
        dy[:, 1:-1] = (w[:, 2:] - w[:, :-2]) * (side / 4)
        number = m.sum((1, 2), keepdim=True).clamp(min=1)
        ca = (a - (a * m).sum((1, 2), keepdim=True) / number) * m
        cw = (w - (w * m).sum((1, 2), keepdim=True) / number) * m
        # Brightness and contrast may differ.
        gain = cw.square().sum((1, 2), keepdim=True).sqrt() / (
            ca.square().sum((1, 2), keepdim=True).sqrt() + 1e-6
        )
        rest = (ca * gain - cw).flatten(1)  # [P, s * s]
        dx, dy = dx * m / (1 + p[:, 0, None, None]), dy * m / (1 + p[:, 2, None, None])
        jacobian = torch.stack([dx * x, dx, dy * y, dy], 1).flatten(2)  # [P, 4, s * s]
        # Sums of each pair alone: a pair has the same result in any batch.
        hessian = (jacobian[:, :, None] * jacobian[:, None]).sum(-1)  # [P, 4, 4]
        damping = 1e-3 * hessian.diagonal(dim1=1, dim2=2).mean(1) + 1e-3  # [P]
        hessian = hessian + damping[:, None, None] * torch.eye(4)
        gradient = (jacobian * rest[:, None]).sum(-1)  # [P, 4]
        step = torch.linalg.solve(hessian, gradient[..., None])[..., 0]  # [P, 4]
        p = (p + step).clamp(-_MOST, _MOST)
    return p


def _warp(b: Tensor, p: Tensor) -> tuple[Tensor, Tensor]:
    """Return the part of b in the frames p, `[P, s, s]`, and 1 where it lies inside b."""
    y, x = _grid(b.shape[-1])
    across = x * (1 + p[:, 0, None, None]) + p[:, 1, None, None]  # [P, s, s]
    down = y * (1 + p[:, 2, None, None]) + p[:, 3, None, None]  # [P, s, s]
    places = torch.stack([across, down], -1)  # [P, s, s, 2]
    warped = F.grid_sample(b[:, None], places, padding_mode="border", align_corners=False)
    return warped[:, 0], ((across.abs() <= 1) & (down.abs() <= 1)).float()


def _grid(side: int) -> tuple[Tensor, Tensor]:
    centres = (torch.arange(side) + 0.5) * (2 / side) - 1  # [s]
    y, x = torch.meshgrid(centres, centres, indexing="ij")  # [s, s]
    return y, x


def _half(x: Tensor) -> Tensor:
    return F.avg_pool2d(x[:, None], 2)[:, 0]  # [P, s / 2, s / 2]


def _blur(x: Tensor, radius: int) -> Tensor:
    padded = F.pad(x[:, None], (radius,) * 4, mode="replicate")
    return F.avg_pool2d(padded, 2 * radius + 1, stride=1)[:, 0]  # [P, s, s]
