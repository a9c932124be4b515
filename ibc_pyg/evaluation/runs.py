"""Scores of finished runs: of each run, their mean, and those of their ensemble."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from ibc_pyg.config import EvaluateConfig
from ibc_pyg.config.evaluate import TRAINED_REFINER, UNTRAINED_REFINERS
from ibc_pyg.data.table import ImageTable
from ibc_pyg.errors import RunError
from ibc_pyg.evaluation.refined import (
    check_refine_options,
    refine_settings,
    refine_text,
    refined_descriptors,
    score_refined,
)
from ibc_pyg.evaluation.scores import score, score_reranked
from ibc_pyg.inference.ensemble import check_same_images, concatenate, mean_scores
from ibc_pyg.inference.eval_set import EvalSet
from ibc_pyg.inference.extract import ONE_VIEW, EvalDescriptors
from ibc_pyg.inference.refined.refine import check_refine
from ibc_pyg.inference.test_time_views import Views
from ibc_pyg.inference.trained import Trained, load_run
from ibc_pyg.nn.weights import weights_hash
from ibc_pyg.refinement.learned.files import load_refiner
from ibc_pyg.refinement.learned.refiner import Refiner


@dataclass(frozen=True)
class ScoreOptions:
    """Options of an evaluation.

    Attributes:
        ks: The K of R@K; None uses the configuration of the first run.
        views: Mirror image and crops.
        refine: Refinement; None uses the configuration of the first run. Its parameters are those
            of that configuration if it is the same method, else the defaults.
        refine_size: Images in a neighbourhood of message passing.
        refine_k: Neighbours of a method without trained weights.
        refine_power: Exponent of the cosine.
        refine_rounds: Repetitions.
        refine_share: Share of the unrefined cosine.
        rerank: Also score k-reciprocal re-ranking.
        trust_code: See `load_run`.
        fields: See `load_run`.
    """

    ks: tuple[int, ...] | None = None
    views: Views = ONE_VIEW
    refine: str | None = None
    refine_size: int | None = None
    refine_k: int | None = None
    refine_power: float | None = None
    refine_rounds: int | None = None
    refine_share: float | None = None
    rerank: bool = False
    trust_code: bool = False
    fields: tuple[str, ...] = ()


@dataclass(frozen=True)
class Scores:
    """Scores of one set of descriptors, or the mean of several.

    Attributes:
        plain: Scores of the unrefined descriptors.
        refined: Scores of the refined descriptors; None if not requested.
        reranked: Scores of the re-ranked lists; None if not requested.
    """

    plain: dict[str, Any]
    refined: dict[str, Any] | None = None
    reranked: dict[str, Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the plain scores with the other scores nested in them."""
        others = {"refined": self.refined, "reranked": self.reranked}
        return self.plain | {name: each for name, each in others.items() if each is not None}


@dataclass(frozen=True)
class Evaluation:
    """Result of an evaluation.

    Attributes:
        names: Unique names of the runs.
        selects: Selection of each run's weights: val, last or test.
        runs: Scores of each run.
        mean: Mean of the scores; None for one run.
        ensemble: Scores of the concatenated descriptors; None for one run.
        config: Settings of the evaluation.
        views: Views of each image.
        final: Descriptors of the last row: refined if requested, concatenated if several runs.
        table: The data set.
    """

    names: list[str]
    selects: list[str]
    runs: list[Scores]
    mean: Scores | None
    ensemble: Scores | None
    config: EvaluateConfig
    views: Views
    final: EvalDescriptors
    table: ImageTable

    def to_dict(self) -> dict[str, Any]:
        """Return everything except the descriptors, for a JSON file."""
        settings: dict[str, Any] = {"flip": self.views.flip, "crops": self.views.crops}
        settings |= refine_settings(self.config)
        runs = [
            {"run": name, "select": select} | scores.to_dict()
            for name, select, scores in zip(self.names, self.selects, self.runs, strict=True)
        ]
        if self.mean is None or self.ensemble is None:
            return settings | runs[0]
        return settings | {
            "runs": runs,
            "mean": self.mean.to_dict(),
            "ensemble": self.ensemble.to_dict(),
        }


def score_runs(paths: Sequence[Path], options: ScoreOptions) -> Evaluation:
    """Embed the test images with each run, and score the embeddings.

    Options that are None use the configuration of the first run; the seed of k-means is that of
    each run.

    Args:
        paths: One or more run folders.
        options: Options of the evaluation.

    Raises:
        UserError: If a run cannot be opened or refined, or was tested on other images.
    """
    names = _names(paths)
    members = [
        load_run(path, trust_code=options.trust_code, fields=options.fields) for path in paths
    ]
    # Check all input before the first forward pass.
    sets = [EvalSet(trained) for trained in members]
    check_same_images(names, [images.data for images in sets])
    config = _settings(members[0].config.evaluate, options)
    if options.refine_size is not None and config.refine == "none":
        raise RunError("--refine-size has no effect without --refine; omit it")
    if options.refine_size is not None and config.refine in UNTRAINED_REFINERS:
        raise RunError(
            f"--refine-size has no effect on {config.refine}, which passes no messages of the "
            "model; use --refine-k, or --refine mpn_k_reciprocal for k-reciprocal neighbourhoods"
        )
    check_refine_options(config)
    for name, trained in zip(names, members, strict=True):
        try:
            check_refine(trained.model, config.refine)
        except RunError as error:
            raise RunError(f"{name}: {error}") from None
    refiners = [_refiner(trained, config) for trained in members]
    seeds = [trained.config.train.seed for trained in members]
    device = members[0].fabric.device
    plain = [images.extract(options.views) for images in sets]
    refined = [
        refined_descriptors(trained.model, descriptors, config, seed=seed, refiner=refiner)
        for trained, descriptors, seed, refiner in zip(members, plain, seeds, refiners, strict=True)
    ]
    runs = [
        _score(unrefined, each, config, options, seed, device)
        for unrefined, each, seed in zip(plain, refined, seeds, strict=True)
    ]
    mean = ensemble = None
    final = refined[0]
    if len(runs) > 1:
        mean, final = _mean(runs), concatenate(refined)
        ensemble = _score(concatenate(plain), final, config, options, seeds[0], device)
    selects: list[str] = [trained.config.select for trained in members]
    table = sets[0].table
    return Evaluation(names, selects, runs, mean, ensemble, config, options.views, final, table)


def score_embeddings(descriptors: EvalDescriptors, options: ScoreOptions) -> tuple[Scores, str]:
    """Score embeddings without a run, also refined by a method without trained weights.

    Returns:
        The scores, and the refinement in a few words.

    Raises:
        UserError: If the method needs a run, or a parameter does not apply to it.
    """
    config = _settings(EvaluateConfig(), options)
    check_refine_options(config)
    refined = descriptors
    if config.refine != "none":
        refined = refined_descriptors(None, descriptors, config, seed=0)
    return _score(descriptors, refined, config, options, 0), refine_text(config)


def _refiner(trained: Trained, config: EvaluateConfig) -> Refiner | None:
    """Open the refiner of a run if it is needed."""
    if config.refine != TRAINED_REFINER:
        return None
    return load_refiner(trained.run.path, weights=weights_hash(trained.model.backbone))


def _settings(config: EvaluateConfig, options: ScoreOptions) -> EvaluateConfig:
    given = {
        name: value
        for name, value in vars(options).items()
        if name.startswith("refine") and value is not None
    }
    if given.get("refine", config.refine) != config.refine:
        config = replace(
            config, refine_k=None, refine_power=None, refine_rounds=None, refine_share=None
        )
    return replace(config, **given)


def _score(
    plain: EvalDescriptors,
    refined: EvalDescriptors,
    config: EvaluateConfig,
    options: ScoreOptions,
    seed: int,
    device: torch.device | None = None,
) -> Scores:
    refined_scores = None
    if config.refine != "none":
        refined_scores = score_refined(refined, config, seed=seed, ks=options.ks, device=device)
    return Scores(
        score(plain, config, seed=seed, ks=options.ks, device=device),
        refined_scores,
        score_reranked(plain, config, ks=options.ks) if options.rerank else None,
    )


def _mean(runs: Sequence[Scores]) -> Scores:
    refined = [run.refined for run in runs if run.refined is not None]
    reranked = [run.reranked for run in runs if run.reranked is not None]
    return Scores(
        mean_scores([run.plain for run in runs]),
        mean_scores(refined) if refined else None,
        mean_scores(reranked) if reranked else None,
    )


def _names(paths: Sequence[Path]) -> list[str]:
    if len({path.resolve() for path in paths}) < len(paths):
        raise RunError("a run is given twice; an ensemble needs different runs")
    names = [path.resolve().name for path in paths]
    return names if len(set(names)) == len(names) else [str(path) for path in paths]
