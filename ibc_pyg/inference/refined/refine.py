"""Refinement of descriptors at test time: message passing over label-free neighbourhoods.

Seidenschwarz et al. 2021 (https://arxiv.org/abs/2102.07753) do not use message passing at test
time; their released code can also refine each test image among its k-reciprocal neighbours.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor
from torch_geometric.data import Batch

from ibc_pyg.config.evaluate import MPN_REFINERS
from ibc_pyg.errors import RunError
from ibc_pyg.inference.extract import EvalDescriptors
from ibc_pyg.inference.refined.fast_refine import FirstNodes
from ibc_pyg.inference.refined.neighbour_groups import neighbours_for
from ibc_pyg.inference.refined.own_refiner import OwnRefiner
from ibc_pyg.nn.model import IntraBatchModel, complete_batch
from ibc_pyg.nn.mpn import MPN, MPNOutput

_FLOATS = 24
"""Approximate number of floats per node and channel in a step, including the hidden layer."""


def refine(
    model: IntraBatchModel,
    descriptors: EvalDescriptors,
    method: str,
    size: int,
    *,
    seed: int = 0,
) -> EvalDescriptors:
    """Refine every descriptor by message passing in its neighbourhood.

    Queries and gallery items are refined with (other) items of the gallery, so that no result
    depends on other queries. Labels are not used. With `size` 1 or method `none`, the descriptors
    are returned unchanged.

    Args:
        model: Model with a message passing network.
        descriptors: Unit-norm descriptors.
        method: `none`, `mpn`, `mpn_k_reciprocal` or `mpn_cluster`; or a reference to a refiner of
            the user, which is imported.
        size: Images in a neighbourhood, including the refined one, >= 1.
        seed: Seed of k-means, for method `mpn_cluster`.

    Raises:
        RunError: If the model has no message passing, there are too few images, the graph of the
            model cannot be built from so few nodes, or the descriptors are not finite.
    """
    if method == "none":
        return descriptors
    check_refine(model, method)
    if size == 1:
        return descriptors
    queries, gallery = descriptors.queries, descriptors.gallery
    find: Callable[..., Tensor]
    for part in (queries, descriptors.candidates):
        if not bool(part.vectors.isfinite().all()):
            raise RunError("the descriptors have NaN or infinite values; are the weights damaged?")
    if method in MPN_REFINERS:
        find = partial(neighbours_for, method=MPN_REFINERS[method], size=size, seed=seed)
    else:
        find = own = OwnRefiner(method, size, seed=seed)
        if (refined := own.descriptors(descriptors)) is not None:
            return refined
        check_refine(model, "mpn")
    pool = None if gallery is None else gallery.vectors
    others = find(queries.vectors, gallery=pool)
    vectors = refined_vectors(model, queries.vectors, others, gallery=pool)
    queries = replace(queries, vectors=vectors)
    if gallery is not None:
        others = find(gallery.vectors)
        gallery = replace(gallery, vectors=refined_vectors(model, gallery.vectors, others))
    return replace(descriptors, queries=queries, gallery=gallery)


def check_refine(model: IntraBatchModel, method: str) -> None:
    """Check that a model can refine descriptors.

    Raises:
        RunError: If it has no message passing and `method` needs it.
    """
    if model.mpn is None and method in MPN_REFINERS:
        raise RunError(
            "a run without message passing (model.steps = 0) cannot refine descriptors; "
            "set evaluate.refine = none, or use a method without trained weights, such as dba"
        )


@torch.no_grad()
def refined_vectors(
    model: IntraBatchModel,
    vectors: Tensor,
    others: Tensor,
    *,
    gallery: Tensor | None = None,
    memory_budget: int = 2**28,
) -> Tensor:
    """Pass messages in batches of neighbourhoods and return the first node of each.

    The result is that of the MPN called with each neighbourhood. `FirstNodes` computes it where it
    supports the layers and the graph is complete; otherwise the MPN is called.

    Args:
        model: Model with message passing; its mode is restored afterwards.
        vectors: Unit-norm float32 `[N, D]`.
        others: Neighbours of each, rows of the gallery or of `vectors`, int64 `[N, S - 1]`.
        gallery: Unit-norm float32 `[M, D]`; None selects neighbours from `vectors`.
        memory_budget: Approximate bytes of a pass, beyond the vectors and, with `FirstNodes`,
            their four projections.

    Returns:
        Unit-norm float32 `[N, D']` on the CPU, of the last output of the MPN.
    """
    mpn = model.mpn
    if mpn is None:
        raise ValueError("model has no message passing network")
    training = model.training
    model.eval()
    device = next(mpn.parameters()).device
    x = vectors.to(device)  # [N, D]
    pool = x if gallery is None else gallery.to(device)  # [M, D]
    others = others.to(device)
    fast = None
    if model.graph is complete_batch and FirstNodes.supports(mpn):
        fast = FirstNodes(mpn, x, None if gallery is None else pool)
    bytes_per_group = (others.shape[1] + 1) * x.shape[1] * 4 * _FLOATS
    out = []
    for rows in torch.split(
        torch.arange(len(x), device=device), max(1, memory_budget // bytes_per_group)
    ):
        if fast is not None:
            refined = fast(rows, others[rows])  # [B, D']
        else:
            groups = torch.cat([x[rows, None], pool[others[rows]]], dim=1)  # [B, S, D]
            refined = _first_nodes(model, mpn, groups)  # [B, D']
        out.append(F.normalize(refined.float(), dim=-1).cpu())
    model.train(training)
    return torch.cat(out)  # [N, D']


def _first_nodes(model: IntraBatchModel, mpn: MPN, groups: Tensor) -> Tensor:
    """Return the refined first node of each graph, `[B, S, D] -> [B, D']`."""
    if model.graph is complete_batch:
        dense: MPNOutput = mpn(groups)  # [B, S, D']
        return dense.features[-1][:, 0]
    B, S, _ = groups.shape
    try:
        graphs = Batch.from_data_list([model.graph(group) for group in groups])
    except ValueError as error:
        raise RunError(
            f"model.graph cannot be built from evaluate.refine_size = {S} images: {error}"
        ) from error
    nodes = mpn(graphs.x, graphs.edge_index, graphs.edge_weight).features[-1]  # [B * S, D']
    first: Tensor = nodes.view(B, S, -1)[:, 0]  # [B, D']
    return first
