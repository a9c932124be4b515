"""Training of a refiner on galleries of training classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ibc_pyg.errors import RunError
from ibc_pyg.metrics import retrieval_metrics
from ibc_pyg.refinement.learned.config import RefinerConfig
from ibc_pyg.refinement.learned.edge_features import Lists, edge_features, nearest_lists
from ibc_pyg.refinement.learned.objective import refinement_loss
from ibc_pyg.refinement.learned.refiner import Refiner, Round, run_round
from ibc_pyg.refinement.method import mixed

SHARES = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
"""Shares of the unrefined descriptor to choose from."""

_LEAST_CLASSES = 4
LEAST_OF_A_GALLERY = 2 * _LEAST_CLASSES
"""Classes of a gallery, half of them to choose the share on."""
_CLASSES = (0.5, 1.0)
_IMAGES = (0.6, 1.0)


@dataclass(frozen=True)
class Gallery:
    """Descriptors of one network, of training classes that it was not trained on if possible.

    Attributes:
        vectors: Unit-norm float32 `[N, D]`.
        labels: Classes, int64 `[N]`.
    """

    vectors: Tensor
    labels: Tensor

    def of(self, classes: Tensor) -> Gallery:
        """Return the images of some classes."""
        rows = torch.isin(self.labels, classes)
        return Gallery(self.vectors[rows], self.labels[rows])


@dataclass(frozen=True)
class Choice:
    """Scores of a share of the unrefined descriptor on held-out training classes.

    Attributes:
        share: The share.
        recall: R@1, in [0, 1].
        precision: MAP@R, in [0, 1].
    """

    share: float
    recall: float
    precision: float


@dataclass(frozen=True)
class Fitted:
    """Result of a training.

    Attributes:
        refiner: The refiner, trained on all classes.
        plain: Scores of the unrefined descriptors of the held-out classes, share 1.
        chosen: Scores of the chosen share, by a refiner trained on the other classes.
        choices: Scores of all shares.
    """

    refiner: Refiner
    plain: Choice
    chosen: Choice
    choices: tuple[Choice, ...]


def fit_refiner(galleries: Sequence[Gallery], config: RefinerConfig, *, seed: int = 0) -> Fitted:
    """Train a refiner and choose the share of the unrefined descriptor.

    A first refiner is trained on half of the classes and scored on the other, see `halves`: the
    share with the highest MAP@R among those whose R@1 is not below that of the unrefined
    descriptors is chosen; if there is none, the one with the highest R@1. A second one is trained
    on all classes.

    Args:
        galleries: Descriptors of one or more networks, of one width.
        config: Settings.
        seed: Seed of the initial weights and the subsampling.

    Raises:
        RunError: If there are fewer than 8 classes, or too few images.
    """
    parts = [halves(gallery) for gallery in galleries]
    first = train_refiner([part[0] for part in parts], config, seed=seed)
    plain, choices = score_shares(first, [part[1] for part in parts])
    chosen = choose(plain, choices)
    refiner = train_refiner(galleries, config, seed=seed)
    refiner.share = chosen.share
    return Fitted(refiner, plain, chosen, choices)


def choose(plain: Choice, choices: Sequence[Choice]) -> Choice:
    """Return the best choice; see `fit_refiner`."""
    kept = [each for each in choices if each.recall >= plain.recall]
    if kept:
        return max(kept, key=lambda each: each.precision)
    return max(choices, key=lambda each: (each.recall, each.precision))


def train_refiner(galleries: Sequence[Gallery], config: RefinerConfig, *, seed: int) -> Refiner:
    """Train a refiner on all classes of some galleries, one round after the other.

    Galleries are subsampled, classes and images, so that lists differ in length and purity.

    Raises:
        RunError: If a gallery has fewer than 4 classes, or classes of one image only.
    """
    for gallery in galleries:
        counts = torch.unique(gallery.labels, return_counts=True)[1]
        if len(counts) < _LEAST_CLASSES or int(counts.max()) < 2:
            raise RunError(
                f"a refiner needs {_LEAST_CLASSES} or more training classes in each gallery, with "
                f"two or more images, but one has {len(counts)} of at most {int(counts.max())}"
            )
    draws = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        channels = galleries[0].vectors.shape[1]
        refiner = Refiner(channels, config, share=config.training_share)
    episodes = [_subsampled(galleries[n % len(galleries)], draws) for n in range(config.episodes)]
    inputs = [episode.vectors for episode in episodes]
    for step in refiner.rounds:
        assert isinstance(step, Round)
        inputs = _train_round(config, step, episodes, inputs, draws)
    return refiner.requires_grad_(False).eval()


def score_shares(
    refiner: Refiner, galleries: Sequence[Gallery]
) -> tuple[Choice, tuple[Choice, ...]]:
    """Score every share of the unrefined descriptor, the mean over galleries.

    Returns:
        Scores of the unrefined descriptors, and those of each of `SHARES`.
    """
    rows = []
    for gallery in galleries:
        refined, row = refiner.gallery(gallery.vectors).refined, []
        for share in (1.0, *SHARES):
            both = mixed(gallery.vectors, refined, share)  # [N, D']
            found = retrieval_metrics(both, gallery.labels, ks=(1,))
            row.append((found["R@1"], found["MAP@R"]))
        rows.append(row)
    means = torch.tensor(rows, dtype=torch.float64).mean(0).tolist()
    choices = [Choice(share, *mean) for share, mean in zip((1.0, *SHARES), means, strict=True)]
    return choices[0], tuple(choices[1:])


def _train_round(
    config: RefinerConfig,
    step: Round,
    episodes: Sequence[Gallery],
    inputs: list[Tensor],
    draws: torch.Generator,
) -> list[Tensor]:
    """Train a round and return its output for each episode."""
    lists = [nearest_lists(x, None, config.k) for x in inputs]
    features = [
        edge_features(near, x[near.indices], near.rows(near.indices))
        for x, near in zip(inputs, lists, strict=True)
    ]
    flat = torch.cat([each.flatten(0, 1) for each in features])  # [E, F]
    step.mean.copy_(flat.mean(0))
    step.scale.copy_(flat.std(0).clamp(min=1e-6))
    optimiser = torch.optim.Adam(step.parameters(), lr=config.lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, config.steps)
    for number in range(config.steps):
        n = number % len(episodes)
        rows = _receivers(episodes[n].labels, lists[n], config.receivers, draws)
        x, near = inputs[n], lists[n].rows(rows)
        refined = step(x[rows], features[n][rows], near.similarities, x[near.indices])
        loss = refinement_loss(
            mixed(episodes[n].vectors[rows], refined, config.training_share),
            episodes[n].labels[rows],
            temperature=config.temperature,
            first_hit=config.first_hit,
        )
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
    with torch.no_grad():
        return [run_round(step, x, near, x, near) for x, near in zip(inputs, lists, strict=True)]


def _receivers(labels: Tensor, lists: Lists, count: int, draws: torch.Generator) -> Tensor:
    """Draw rows, with their lists and the images of their classes, until there are `count`."""
    if count >= len(labels):
        return torch.arange(len(labels))
    kept = torch.zeros(len(labels), dtype=torch.bool)
    for row in torch.randperm(len(labels), generator=draws).tolist():
        kept[row] = True
        kept[lists.indices[row]] = True
        kept |= labels == labels[row]
        if int(kept.sum()) >= count:
            break
    rows = torch.nonzero(kept).flatten()
    return rows[torch.randperm(len(rows), generator=draws)[:count]]


def _subsampled(gallery: Gallery, draws: torch.Generator) -> Gallery:
    classes = torch.unique(gallery.labels)
    share = _CLASSES[0] + (_CLASSES[1] - _CLASSES[0]) * float(torch.rand(1, generator=draws))
    count = max(_LEAST_CLASSES, round(len(classes) * share))
    order = torch.randperm(len(classes), generator=draws)
    part = gallery.of(classes[order[:count]])
    share = _IMAGES[0] + (_IMAGES[1] - _IMAGES[0]) * float(torch.rand(1, generator=draws))
    rows = torch.rand(len(part.labels), generator=draws) < share
    if int(rows.sum()) < 2:
        return part
    return Gallery(part.vectors[rows], part.labels[rows])


def halves(gallery: Gallery) -> tuple[Gallery, Gallery]:
    """Divide classes into two groups far from each other: by the main axis of their means.

    Test classes can differ from training classes as a group, and a random division would not show
    what that costs.

    Raises:
        RunError: If there are fewer than 8 classes.
    """
    classes, member = torch.unique(gallery.labels, return_inverse=True)
    if len(classes) < LEAST_OF_A_GALLERY:
        raise RunError(
            f"a refiner needs {LEAST_OF_A_GALLERY} or more training classes in each gallery, half "
            f"of them to choose on, but one has {len(classes)}"
        )
    sums = torch.zeros(len(classes), gallery.vectors.shape[1]).index_add_(
        0, member, gallery.vectors
    )
    means = sums / member.bincount()[:, None]  # [C, D]
    axis = torch.linalg.svd(means - means.mean(0), full_matrices=False).Vh[0]  # [D]
    order = classes[(means @ axis).argsort()]
    half = len(classes) // 2
    return gallery.of(order[:half]), gallery.of(order[half:])
