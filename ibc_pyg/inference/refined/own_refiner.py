"""Refiners of the user."""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from ibc_pyg.inference.extract import EvalDescriptors
from ibc_pyg.plugins import Plug, load_plug
from ibc_pyg.plugins.plug import described, named_arguments

_WIDTH = 8


class OwnRefiner:
    """Refiner of the user.

    Args:
        name: Reference to a function, which is imported, or an entry point.
        size: Images in a neighbourhood, including the refined one.
        seed: Seed, supplied where the function names it.

    Raises:
        ConfigError: If it cannot be imported.
    """

    def __init__(self, name: str, size: int, *, seed: int = 0) -> None:
        self.plug: Plug = load_plug("refiner", name)
        self._function = self.plug.function({})
        self._named = named_arguments(self._function)
        self._size, self._seed = size, seed

    def __call__(self, vectors: Tensor, gallery: Tensor | None = None) -> Tensor:
        """Call the function.

        Args:
            vectors: Unit-norm float32 `[N, D]`.
            gallery: Unit-norm float32 `[M, D]`; None selects neighbours from `vectors`.

        Returns:
            Neighbours of each, int64 `[N, size - 1]`, or unit-norm descriptors float32 `[N, D']`.

        Raises:
            ConfigError: If the function fails or returns something else.
        """
        more = {"gallery": gallery, "seed": self._seed}
        given = {key: value for key, value in more.items() if key in self._named}
        if gallery is not None and "gallery" not in given:
            self.plug.refuse("an argument gallery, which the data set has", "none")
        with self.plug.errors():
            found = self._function(vectors, self._size, **given)
        N, count = len(vectors), len(vectors if gallery is None else gallery)
        expected = f"neighbours int64 [{N}, {self._size - 1}] or descriptors float [{N}, D]"
        if not isinstance(found, Tensor) or found.ndim != 2 or len(found) != N:
            self.plug.refuse(expected, described(found))
        if found.is_floating_point():
            if not bool(found.isfinite().all()):
                self.plug.refuse(f"finite {expected}", "NaN or infinite values")
            return F.normalize(found.float().cpu(), dim=-1)  # [N, D']
        if found.dtype != torch.int64 or found.shape[1] != self._size - 1:
            self.plug.refuse(expected, described(found))
        if found.numel() and not 0 <= int(found.min()) <= int(found.max()) < count:
            self.plug.refuse(
                f"neighbours from 0 to {count - 1}", f"{int(found.min())} to {int(found.max())}"
            )
        return found.cpu()

    def descriptors(self, descriptors: EvalDescriptors) -> EvalDescriptors | None:
        """Return the refined descriptors; None if the function selects neighbours.

        Raises:
            ConfigError: See `__call__`.
        """
        queries, gallery = descriptors.queries, descriptors.gallery
        vectors = self(queries.vectors, None if gallery is None else gallery.vectors)
        if not vectors.is_floating_point():
            return None
        queries = replace(queries, vectors=vectors)
        if gallery is not None:
            gallery = replace(gallery, vectors=self(gallery.vectors))
        return replace(descriptors, queries=queries, gallery=gallery)


def check_refiner(name: str, size: int, *, separate: bool) -> None:
    """Call a refiner of the user with random descriptors, before anything is trained.

    Args:
        name: See `OwnRefiner`.
        size: Images in a neighbourhood.
        separate: Whether queries search a separate gallery.

    Raises:
        ConfigError: See `OwnRefiner`.
    """
    draws = torch.Generator().manual_seed(0)
    vectors = F.normalize(torch.randn(2 * size + 2, _WIDTH, generator=draws), dim=-1)  # [N, D]
    OwnRefiner(name, size)(vectors, vectors.flip(0) if separate else None)
