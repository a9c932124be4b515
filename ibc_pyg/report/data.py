"""Contents of a report: plain arrays and texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Picture = npt.NDArray[np.uint8]
"""A picture, uint8 `[H, W]`, `[H, W, 1]` or `[H, W, 3]`."""


@dataclass(frozen=True)
class Thumb:
    """A picture with the name of its class.

    Attributes:
        picture: uint8 `[H, W]`, `[H, W, 1]` (grey) or `[H, W, 3]` (RGB).
        label: Name of the class.
    """

    picture: Picture
    label: str


@dataclass(frozen=True)
class Neighbour(Thumb):
    """A picture found for a query.

    Attributes:
        similarity: Similarity to the query; cosine unless the run says otherwise.
        correct: Whether it is of the query's class.
    """

    similarity: float
    correct: bool


@dataclass(frozen=True)
class GalleryRow:
    """A query and its nearest neighbours, nearest first."""

    query: Thumb
    neighbours: Sequence[Neighbour]

    @property
    def correct(self) -> int:
        """Number of neighbours of the query's class."""
        return sum(neighbour.correct for neighbour in self.neighbours)


@dataclass(frozen=True)
class AttentionMap:
    """The attention of one batch in one message-passing step.

    Attributes:
        weights: `[H, N, N]` float, head x receiver x sender, in [0, 1]; nodes ordered by class.
        labels: Class name of each node, `N` of them, equal names side by side.
        null_share: `[H, N]` float, attention of each receiver to the null node; None without one.

    Raises:
        ValueError: If the shapes do not fit each other.
    """

    weights: npt.NDArray[np.float32]
    labels: Sequence[str]
    null_share: npt.NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        """Check the shapes."""
        shape = self.weights.shape
        if len(shape) != 3 or shape[0] == 0 or shape[1] == 0 or shape[1] != shape[2]:
            raise ValueError(f"weights must be [H, N, N], got {list(shape)}")
        if len(self.labels) != shape[1]:
            raise ValueError(f"labels must be {shape[1]} names, got {len(self.labels)}")
        if self.null_share is not None and self.null_share.shape != shape[:2]:
            raise ValueError(
                f"null_share must be {list(shape[:2])}, got {list(self.null_share.shape)}"
            )

    @property
    def runs(self) -> list[tuple[str, int]]:
        """Class name and number of nodes of each run of equal labels, in order."""
        runs: list[tuple[str, int]] = []
        for label in self.labels:
            if runs and runs[-1][0] == label:
                runs[-1] = (label, runs[-1][1] + 1)
            else:
                runs.append((label, 1))
        return runs


@dataclass(frozen=True)
class BatchGraph:
    """A batch as a graph, with its strongest edges.

    Attributes:
        nodes: Picture and class of each node, `N` of them, equal classes side by side.
        edges: Receiver, sender and attention weight, strongest first.
        places: `[N, 2]` float, places of the nodes in [-1, 1].
        mean: Mean weight of all edges between different nodes.
    """

    nodes: Sequence[Thumb]
    edges: Sequence[tuple[int, int, float]]
    places: npt.NDArray[np.float64]
    mean: float

    def strength(self, weight: float) -> float:
        """Return where a weight lies between the mean of all edges and the strongest, in [0, 1]."""
        top = self.edges[0][2] if self.edges else 0.0
        return max(0.0, (weight - self.mean) / max(top - self.mean, 1e-12))


@dataclass(frozen=True)
class MapPoints:
    """Test descriptors in two dimensions.

    Attributes:
        xy: `[M, 2]` float; see `project_2d`.
        labels: `[M]` int, class index of each point.
        class_names: One name per class.
        thumbs: Row of `xy` to picture, for points that are drawn as pictures.

    Raises:
        ValueError: If shapes do not fit, or a label or row is out of range.
    """

    xy: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]
    class_names: Sequence[str]
    thumbs: Mapping[int, Picture] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check shapes and ranges."""
        if self.xy.ndim != 2 or self.xy.shape[1] != 2:
            raise ValueError(f"xy must be [M, 2], got {list(self.xy.shape)}")
        count = len(self.xy)
        if self.labels.shape != (count,):
            raise ValueError(f"labels must be [{count}], got {list(self.labels.shape)}")
        if count and not 0 <= self.labels.min() <= self.labels.max() < len(self.class_names):
            raise ValueError(f"labels must be in [0, {len(self.class_names)})")
        if any(not 0 <= row < count for row in self.thumbs):
            raise ValueError(f"thumbs must have rows in [0, {count}), got {sorted(self.thumbs)}")


@dataclass(frozen=True)
class ReportData:
    """Contents of one report; a sentence explains whatever is empty or None.

    Attributes:
        title: Name of the run.
        facts: Name to text: data set, commit, date, seed, device, duration, ...
        config_yaml: The full resolved configuration as YAML.
        summary: Final metrics; fractions in [0, 1] are shown in per cent.
        comparisons: Name to metrics of each comparison; the first is shown as the floor beside
            the headline metrics, e.g. `{"raw pixels": {"R@1": 0.234}}`.
        history: Records of `metrics.jsonl`, as `ibc_pyg.track.read_jsonl` gives them.
        gallery: Queries with their nearest neighbours.
        attention: Attention of one batch; None if there is no message passing.
        points: Map of the test descriptors.
        graph: The same batch as a graph; None if there is no attention.
    """

    title: str
    facts: Mapping[str, str] = field(default_factory=dict)
    config_yaml: str = ""
    summary: Mapping[str, float] = field(default_factory=dict)
    comparisons: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    history: Sequence[Mapping[str, float | None]] = ()
    gallery: Sequence[GalleryRow] = ()
    attention: AttentionMap | None = None
    points: MapPoints | None = None
    graph: BatchGraph | None = None
