"""The kinds of parts that code of the user can replace."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class Kind:
    """A kind of part.

    Attributes:
        name: Its name, in messages and documents.
        field: Field of the configuration that names it; `[]` stands for each item of a list.
        args: Field of its arguments; empty if it has none.
        expected: What the reference has to name.
        opens: Whether commands on a finished run import it, not training alone.
    """

    name: str
    field: str
    args: str
    expected: str
    opens: bool = False

    @property
    def place(self) -> str:
        """Its field, for messages."""
        return self.field.replace("[]", "")


KINDS: MappingProxyType[str, Kind] = MappingProxyType(
    {
        kind.name: kind
        for kind in (
            Kind(
                "data set",
                "data.name",
                "data.options",
                "a class or function that returns an ImageTable or a torch Dataset with labels",
                opens=True,
            ),
            Kind(
                "transform",
                "data.transform",
                "data.transform_args",
                "a class with image_size, channels, train(image) and test(image)",
                opens=True,
            ),
            Kind(
                "sampler",
                "data.sampler",
                "data.sampler_args",
                "a subclass of PKSampler, or a function (labels, classes, images, rng) -> rows",
            ),
            Kind(
                "backbone",
                "model.backbone",
                "model.backbone_args",
                "a class or function that returns a torch.nn.Module",
                opens=True,
            ),
            Kind(
                "graph layer",
                "model.conv",
                "model.conv_args",
                "a class derived from torch.nn.Module",
                opens=True,
            ),
            Kind(
                "graph",
                "model.graph",
                "model.graph_args",
                "a function (nodes) -> edge_index or Data",
                opens=True,
            ),
            Kind(
                "loss",
                "loss.terms[].name",
                "loss.terms[].args",
                "a class derived from torch.nn.Module, called with features and labels",
            ),
            Kind(
                "miner",
                "loss.terms[].miner",
                "loss.terms[].miner_args",
                "a function (features, labels) -> three or four index tensors",
            ),
            Kind(
                "optimiser",
                "train.optimizer",
                "train.optimizer_args",
                "a class derived from torch.optim.Optimizer",
            ),
            Kind(
                "schedule",
                "train.schedule",
                "train.schedule_args",
                "a function (epoch, epochs) -> factor of the learning rate",
            ),
            Kind(
                "metric",
                "evaluate.metrics[]",
                "",
                "a function (descriptors, labels) -> number or mapping of numbers",
                opens=True,
            ),
            Kind(
                "refiner",
                "evaluate.refine",
                "",
                "a function (descriptors, size) -> neighbours or refined descriptors",
                opens=True,
            ),
            Kind(
                "tracker",
                "track.trackers[]",
                "",
                "a class with log(step, values)",
            ),
        )
    }
)
"""Kinds by name."""
