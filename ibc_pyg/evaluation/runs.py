"""Scores of finished runs: alone, on average, and joined to an ensemble."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ibc_pyg.config import EvaluateConfig, RefineMethod
from ibc_pyg.data.table import ImageTable
from ibc_pyg.errors import RunError
from ibc_pyg.evaluation.scores import score, score_refined, score_reranked
from ibc_pyg.inference.ensemble import check_same_images, concatenate, mean_scores
from ibc_pyg.inference.eval_set import EvalSet
from ibc_pyg.inference.extract import ONE_VIEW, EvalDescriptors
from ibc_pyg.inference.refine import check_refine, refine
from ibc_pyg.inference.test_time_views import Views
from ibc_pyg.inference.trained import load_run


@dataclass(frozen=True)
class ScoreOptions:
    """What is asked of the scores.

    Attributes:
        ks: The K of R@K; None takes those of the first run's configuration.
        views: Mirror image and crops.
        refine: How neighbourhoods are found; None takes the first run's configuration.
        refine_size: Images in a neighbourhood; None takes the first run's configuration.
        rerank: Also score k-reciprocal re-ranking.
        trust_code: As in `load_run`.
    """

    ks: tuple[int, ...] | None = None
    views: Views = ONE_VIEW
    refine: RefineMethod | None = None
    refine_size: int | None = None
    rerank: bool = False
    trust_code: bool = False


@dataclass(frozen=True)
class Scores:
    """The scores of one set of descriptors, or a mean of several.

    Attributes:
        plain: Of the descriptors themselves.
        refined: Of the refined ones, if asked for.
        reranked: Of re-ranked lists, if asked for.
    """

    plain: dict[str, Any]
    refined: dict[str, Any] | None = None
    reranked: dict[str, Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the plain scores with the others nested in them."""
        others = {"refined": self.refined, "reranked": self.reranked}
        return self.plain | {name: each for name, each in others.items() if each is not None}


@dataclass(frozen=True)
class Evaluation:
    """What came out.

    Attributes:
        names: What the runs are called, each different.
        selects: How each run's weights were chosen: val, last or test.
        runs: Scores of each.
        mean: Their mean; None of one run.
        ensemble: Scores of their joined descriptors; None of one run.
        config: The settings that were used.
        views: The views that were used.
        final: The descriptors of the last kind: refined if asked for, joined if several.
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
        """Return everything but the descriptors, for a JSON file."""
        settings: dict[str, Any] = {
            "flip": self.views.flip,
            "crops": self.views.crops,
            "refine": self.config.refine,
        }
        if self.config.refine != "none":
            settings["refine_size"] = self.config.refine_size
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
    """Embed the test images by each run, and score.

    What `options` leave open is as the first run's configuration says; only the seed of k-means
    is each run's own.

    Args:
        paths: One or more run folders.
        options: What is asked for.

    Raises:
        UserError: If a run cannot be used, cannot be refined, or was tested on other images.
    """
    names = _names(paths)
    members = [load_run(path, trust_code=options.trust_code) for path in paths]
    # Errors of the input come before the first forward pass.
    sets = [EvalSet(trained) for trained in members]
    check_same_images(names, [images.data for images in sets])
    config = _settings(members[0].config.evaluate, options)
    if options.refine_size is not None and config.refine == "none":
        raise RunError("a size of neighbourhoods is of no use without --refine; leave it out")
    for name, trained in zip(names, members, strict=True):
        try:
            check_refine(trained.model, config.refine)
        except RunError as error:
            raise RunError(f"{name}: {error}") from None
    seeds = [trained.config.train.seed for trained in members]
    plain = [images.extract(options.views) for images in sets]
    refined = [
        refine(trained.model, described, config.refine, config.refine_size, seed=seed)
        for trained, described, seed in zip(members, plain, seeds, strict=True)
    ]
    runs = [
        _score(described, better, config, options, seed)
        for described, better, seed in zip(plain, refined, seeds, strict=True)
    ]
    mean = ensemble = None
    final = refined[0]
    if len(runs) > 1:
        mean, final = _mean(runs), concatenate(refined)
        ensemble = _score(concatenate(plain), final, config, options, seeds[0])
    selects: list[str] = [trained.config.select for trained in members]
    table = sets[0].table
    return Evaluation(names, selects, runs, mean, ensemble, config, options.views, final, table)


def score_embeddings(described: EvalDescriptors, options: ScoreOptions) -> Scores:
    """Score embeddings that need no run: everything but refinement."""
    return _score(described, described, EvaluateConfig(), options, 0)


def _settings(config: EvaluateConfig, options: ScoreOptions) -> EvaluateConfig:
    return replace(
        config,
        refine=options.refine or config.refine,
        refine_size=options.refine_size or config.refine_size,
    )


def _score(
    plain: EvalDescriptors,
    refined: EvalDescriptors,
    config: EvaluateConfig,
    options: ScoreOptions,
    seed: int,
) -> Scores:
    better = None
    if config.refine != "none":
        better = score_refined(refined, config, seed=seed, ks=options.ks)
    return Scores(
        score(plain, config, seed=seed, ks=options.ks),
        better,
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
        raise RunError("a run is given twice; an ensemble needs different ones")
    names = [path.resolve().name for path in paths]
    return names if len(set(names)) == len(names) else [str(path) for path in paths]
