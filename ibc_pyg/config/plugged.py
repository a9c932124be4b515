"""Code of the user that a configuration refers to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ibc_pyg.config.experiment import Config
from ibc_pyg.plugins.entry_points import entry_point, entry_point_names
from ibc_pyg.plugins.kinds import KINDS, Kind
from ibc_pyg.plugins.reference import is_reference, named_file, named_module

INNER_LAYERS = ("conv", "phi")
"""Keys of `model.conv_args` that may name a layer inside the layer."""

# Dotted paths of graph layers that are no code of the user.
_OURS = ("torch_geometric.nn.", "ibc_pyg.nn.")


@dataclass(frozen=True)
class Plugged:
    """Reference to code of the user.

    Attributes:
        kind: Kind of the part.
        field: Field that names it, such as `loss.terms.0.miner`.
        name: Value of the field.
        reference: `FILE.py:NAME`, `package.module:NAME`, or for a graph layer also
            `package.module.NAME`; that of the package for the name of an entry point.
    """

    kind: Kind
    field: str
    name: str
    reference: str

    @property
    def file(self) -> Path | None:
        """The file that is executed; None for a module."""
        return named_file(self.reference)

    @property
    def module(self) -> str | None:
        """Dotted name of the module that is imported; None for a file."""
        return named_module(self.reference)

    @property
    def is_entry_point(self) -> bool:
        """Whether it is a name that an installed package adds."""
        return self.name != self.reference


def plugged(config: Config) -> list[Plugged]:
    """Return every reference to code of the user in a configuration; nothing is imported.

    A name of this package that an installed package adds, too, is listed, though it is not used.

    Args:
        config: The experiment.
    """
    names = entry_point_names()
    found = []
    for kind, field, name in _names(config):
        if is_code(kind, name):
            found.append(Plugged(KINDS[kind], field, name, name))
        elif name in names:
            found.append(Plugged(KINDS[kind], field, name, str(entry_point(name))))
    return found


def plugged_code(config: Config, *, opening: bool = False) -> frozenset[str]:
    """Return the references of a configuration that name a file or module to import.

    Entry points are left out: a configuration cannot choose what they import.

    Args:
        config: The experiment.
        opening: Only those that commands on a finished run import.
    """
    return frozenset(
        each.name
        for each in plugged(config)
        if not each.is_entry_point and (each.kind.opens or not opening)
    )


def plugged_sources(config: Config) -> frozenset[str]:
    """Return the names of all code of the user in a configuration, of entry points too.

    A run records the source of each, and refuses it once it has changed.

    Args:
        config: The experiment.
    """
    return frozenset(each.name for each in plugged(config))


def _names(config: Config) -> Iterator[tuple[str, str, str]]:
    """Yield kind, field and value of each field that may refer to code."""
    data, model, train = config.data, config.model, config.train
    yield "data set", "data.name", data.name
    yield "transform", "data.transform", data.transform
    yield "sampler", "data.sampler", data.sampler
    yield "backbone", "model.backbone", model.backbone
    yield "graph layer", "model.conv", model.conv
    for key in INNER_LAYERS:
        if isinstance(name := model.conv_args.get(key), str):
            yield "graph layer", f"model.conv_args.{key}", name
    yield "graph", "model.graph", model.graph
    for number, term in enumerate(config.loss.terms):
        yield "loss", f"loss.terms.{number}.name", term.name
        if term.miner is not None:
            yield "miner", f"loss.terms.{number}.miner", term.miner
    yield "optimiser", "train.optimizer", train.optimizer
    yield "schedule", "train.schedule", train.schedule
    for number, name in enumerate(config.evaluate.metrics):
        yield "metric", f"evaluate.metrics.{number}", name
    yield "refiner", "evaluate.refine", config.evaluate.refine
    for number, name in enumerate(config.track.trackers):
        yield "tracker", f"track.trackers.{number}", name


def is_code(kind: str, name: str) -> bool:
    """Return whether a name in the field of a kind refers to code of the user by file or module."""
    if is_reference(name):
        return True
    return kind == "graph layer" and "." in name and not name.startswith(_OURS)
