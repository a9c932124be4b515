"""Scores of refined descriptors, or of the lists that a refinement makes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import torch

from ibc_pyg.config import EvaluateConfig
from ibc_pyg.config.evaluate import TRAINED_REFINER, UNTRAINED_REFINERS
from ibc_pyg.errors import ConfigError, RunError
from ibc_pyg.evaluation.scores import as_run_error, score, score_lists
from ibc_pyg.inference.extract import EvalDescriptors
from ibc_pyg.inference.refined.refine import refine
from ibc_pyg.nn.model import IntraBatchModel
from ibc_pyg.refinement import LISTS, Parameters, parameters_of, refine_vectors, rerank
from ibc_pyg.refinement.learned.refiner import Refiner
from ibc_pyg.refinement.parameters import UNUSED


def check_refine_options(config: EvaluateConfig) -> None:
    """Check that the parameters apply to the method.

    Raises:
        ConfigError: If one does not.
    """
    if config.refine in UNTRAINED_REFINERS:
        _parameters(config)
        return
    given = {"k": config.refine_k, "power": config.refine_power, "rounds": config.refine_rounds,
             "share": config.refine_share}  # fmt: skip
    for name, value in given.items():
        if value is not None:
            raise ConfigError(
                f"evaluate.refine_{name} has no effect on evaluate.refine = {config.refine}; omit "
                f"it, or use {', '.join(UNTRAINED_REFINERS)}"
            )


def refined_descriptors(
    model: IntraBatchModel | None,
    descriptors: EvalDescriptors,
    config: EvaluateConfig,
    *,
    seed: int,
    refiner: Refiner | None = None,
) -> EvalDescriptors:
    """Refine descriptors with the settings of `config`; lists are refined when they are scored.

    Args:
        model: The model, for refinement by message passing; else None.
        descriptors: Unit-norm descriptors.
        config: Method and parameters.
        seed: Seed of k-means.
        refiner: The trained refiner of the run, for the method `refiner`.

    Raises:
        RunError: See `ibc_pyg.inference.refined.refine.refine`; or the refiner has another width.
        ConfigError: If a parameter does not apply.
    """
    if config.refine in UNTRAINED_REFINERS:
        if config.refine in LISTS:
            return descriptors
        queries, gallery = descriptors.queries, descriptors.gallery
        pool = None if gallery is None else gallery.vectors
        with as_run_error():
            found = refine_vectors(config.refine, queries.vectors, pool, _parameters(config))
        if found.gallery is not None:
            gallery = replace(descriptors.candidates, vectors=found.gallery)
        queries = replace(queries, vectors=found.queries)
        return replace(descriptors, queries=queries, gallery=gallery, same=found.same)
    if config.refine == TRAINED_REFINER and refiner is not None:
        return _by_refiner(refiner, descriptors)
    if model is None or config.refine == TRAINED_REFINER:
        raise ConfigError(
            f"--refine {config.refine} needs a finished run; embeddings alone are refined by "
            f"{', '.join(UNTRAINED_REFINERS)}"
        )
    return refine(model, descriptors, config.refine, config.refine_size, seed=seed)


def _by_refiner(refiner: Refiner, descriptors: EvalDescriptors) -> EvalDescriptors:
    queries, pool = descriptors.queries, descriptors.gallery
    width = queries.vectors.shape[1]
    if width != refiner.channels:
        raise RunError(f"the refiner is for {refiner.channels} dimensions, not {width}")
    for part in (queries, descriptors.candidates):
        if not bool(part.vectors.isfinite().all()):
            raise RunError("the descriptors have NaN or infinite values; are the weights damaged?")
    gallery = refiner.gallery(descriptors.candidates.vectors)
    if pool is None:
        return replace(descriptors, queries=replace(queries, vectors=gallery.vectors))
    refined = replace(queries, vectors=refiner.queries(queries.vectors, gallery))
    return replace(descriptors, queries=refined, gallery=replace(pool, vectors=gallery.vectors))


def refine_and_score(
    model: IntraBatchModel | None,
    descriptors: EvalDescriptors,
    config: EvaluateConfig,
    *,
    seed: int,
    device: torch.device | None = None,
) -> dict[str, Any]:
    """Refine descriptors with the settings of `config` and score them; see `score`."""
    refined = refined_descriptors(model, descriptors, config, seed=seed)
    return score_refined(refined, config, seed=seed, device=device)


def score_refined(
    refined: EvalDescriptors,
    config: EvaluateConfig,
    *,
    seed: int,
    ks: Sequence[int] | None = None,
    device: torch.device | None = None,
) -> dict[str, Any]:
    """Compute the metrics of what `refined_descriptors` returns, and add its settings.

    Methods that refine lists have no NMI.
    """
    settings = refine_settings(config)
    if config.refine not in LISTS:
        return settings | score(refined, config, seed=seed, ks=ks, device=device)
    x = refined.queries.vectors
    pool = None if refined.gallery is None else refined.gallery.vectors
    parameters = _parameters(config)
    lists = score_lists(
        refined, config, lambda k: rerank(config.refine, x, pool, k, parameters), ks=ks
    )
    return settings | lists


def refine_settings(config: EvaluateConfig) -> dict[str, Any]:
    """Return the method and the parameters that it uses."""
    if config.refine == "none":
        return {"refine": "none"}
    if config.refine in UNTRAINED_REFINERS:
        unused = UNUSED.get(config.refine, ())
        found = {k: v for k, v in asdict(_parameters(config)).items() if k not in unused}
        return {"refine": config.refine} | {f"refine_{name}": v for name, v in found.items()}
    if config.refine == TRAINED_REFINER:
        return {"refine": config.refine}
    return {"refine": config.refine, "refine_size": config.refine_size}


def refine_text(config: EvaluateConfig) -> str:
    """Return the settings in a few words, for a table."""
    settings = refine_settings(config)
    method = settings.pop("refine")
    if config.refine not in UNTRAINED_REFINERS:
        return f"refine {method} {' '.join(map(str, settings.values()))}".strip()
    shown = (f"{name.removeprefix('refine_')} {value:g}" for name, value in settings.items())
    return f"refine {method} ({', '.join(shown)})"


def _parameters(config: EvaluateConfig) -> Parameters:
    return parameters_of(
        config.refine,
        k=config.refine_k,
        power=config.refine_power,
        rounds=config.refine_rounds,
        share=config.refine_share,
    )
