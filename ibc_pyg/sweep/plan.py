"""What a sweep runs: the trials of every method, then the winners with fresh seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from ibc_pyg.compare.grid import GridPoint, divide
from ibc_pyg.compare.runs import tracked
from ibc_pyg.config import Config
from ibc_pyg.config.overlays import parse_overlays
from ibc_pyg.errors import ConfigError
from ibc_pyg.jobs.pool import Job
from ibc_pyg.sweep.sweep_file import Sweep


@dataclass(frozen=True)
class Method:
    """What is searched: one row of the table.

    Attributes:
        name: Of the row.
        files: Its experiment, and layers over it, whose fields win.
    """

    name: str
    files: tuple[Path, ...]


@dataclass(frozen=True)
class Twin:
    """A row without a search of its own: a method's winning values, and some fields changed.

    Attributes:
        name: Of the row.
        method: Name of the method.
        values: The fields that differ.
    """

    name: str
    method: str
    values: tuple[tuple[str, str], ...]

    @property
    def folder(self) -> str:
        """Name that is safe as a folder."""
        return GridPoint((("twin", self.name),)).folder


@dataclass(frozen=True)
class Plan:
    """All runs of a sweep.

    Attributes:
        sweep: The search space and the score.
        methods: What is searched, each within the same space by the same values.
        twins: Rows derived from winners.
        fields: Options that hold for every run.
        out: Folder of everything.
        count: Trials of each method; a grid may have fewer.
        seed: Draws the values, and trains and divides every trial; no winner is run with it.
        seeds: Fresh seeds of the winners.
    """

    sweep: Sweep
    methods: Sequence[Method]
    twins: Sequence[Twin]
    fields: Sequence[str]
    out: Path
    count: int
    seed: int
    seeds: int

    @cached_property
    def values(self) -> list[dict[str, Any]]:
        """Values of each trial, by field."""
        return self.sweep.trials(self.count, self.seed)

    @cached_property
    def trials(self) -> dict[tuple[str, int], Job]:
        """Every trial, by method and number: the first of all methods, the second of all, ...

        Raises:
            ConfigError: If an experiment cannot be read, or values do not fit.
        """
        return {
            (method.name, number): self._trial(method, number)
            for number in range(len(self.values))
            for method in self.methods
        }

    def _trial(self, method: Method, number: int) -> Job:
        config = self._config(
            method,
            self.values[number],
            ["--select=val", "--retrain=false", f"--train.seed={self.seed}"],
        )
        # The choice looks at held-out training classes alone: what follows training is left out.
        evaluate = replace(config.evaluate, clustering=False, raw_pixels=False, refine="none")
        track = replace(config.track, report=False)
        return Job(
            f"{method.name}, trial {number}",
            self.out / method.name / f"trial-{number:03d}",
            tracked(
                replace(config, evaluate=evaluate, track=track), self.out.name, method.name, "trial"
            ),
        )

    def final(self, row: Method | Twin, winner: int, seed: int) -> Job:
        """Return a run of a winner, or of its twin, on all training classes.

        Args:
            row: Which row.
            winner: Number of the method's best trial.
            seed: A fresh seed.
        """
        method = self.method(row)
        config = self.winner_config(row, winner, seed)
        folder = f"winner-{winner:03d}"
        if isinstance(row, Twin):
            folder = f"{folder}-{row.folder}"
        return Job(
            f"{row.name}, seed {seed}",
            self.out / method.name / folder / f"seed-{seed}",
            tracked(config, self.out.name, row.name, "winner"),
        )

    def winner_config(self, row: Method | Twin, winner: int, seed: int) -> Config:
        """Return the experiment of a winner, or of its twin."""
        words = ["--select=last", "--retrain=false", f"--train.seed={seed}"]
        if isinstance(row, Twin):
            words += [f"--{name}={value}" for name, value in row.values]
        return self._config(self.method(row), self.values[winner], words)

    def method(self, row: Method | Twin) -> Method:
        """Return the method whose search a row rests on."""
        if isinstance(row, Method):
            return row
        return next(method for method in self.methods if method.name == row.method)

    @property
    def rows(self) -> list[Method | Twin]:
        """Rows of the table: each method, then its twins."""
        rows: list[Method | Twin] = []
        for method in self.methods:
            rows.append(method)
            rows += [twin for twin in self.twins if twin.method == method.name]
        return rows

    @property
    def final_seeds(self) -> range:
        """Seeds of the winners: none of them was trained with before."""
        return range(self.seed + 1, self.seed + 1 + self.seeds)

    def _config(self, method: Method, values: Mapping[str, Any], words: Sequence[str]) -> Config:
        chosen = [f"--{name}={text(value)}" for name, value in values.items()]
        return parse_overlays(method.files, [*self.fields, *chosen, *words])


def text(value: object) -> str:
    """Return a value as it is written in a YAML file, on one line."""
    dumped = str(yaml.safe_dump(value, default_flow_style=True, width=10**6))
    return dumped.removesuffix("...\n").strip()


def make_methods(base: Sequence[Path], layers: Sequence[Path]) -> list[Method]:
    """Return one method a layer, named by its file.

    Args:
        base: Files below every layer.
        layers: What the methods differ in; none: the base alone is the one method.

    Raises:
        ConfigError: If there are neither, or two methods have the same name.
    """
    if not base and not layers:
        raise ConfigError("--experiments: name a file; the sweep has no command that does")
    if not layers:
        return [Method(base[-1].stem, tuple(base))]
    names = [layer.stem for layer in layers]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigError(f"--experiments: two files are named {twice[0]}; rows need unique names")
    return [Method(layer.stem, (*base, layer)) for layer in layers]


def make_twin(given: str, methods: Sequence[Method]) -> Twin:
    """Read `NAME:METHOD:FIELD=VALUE[,FIELD=VALUE]`.

    Raises:
        ConfigError: If it does not read so, or the method is none of those searched.
    """
    name, _, rest = given.partition(":")
    method, _, fields = rest.partition(":")
    pairs = [field.partition("=") for field in divide(fields)]
    if not name or not all(field and value for field, _, value in pairs):
        raise ConfigError(f"--twin {given!r} must read NAME:METHOD:FIELD=VALUE[,FIELD=VALUE]")
    known = [each.name for each in methods]
    if method not in known:
        raise ConfigError(f"--twin {given!r}: no method {method!r}, there are {', '.join(known)}")
    if name in known:
        raise ConfigError(f"--twin {given!r}: a method is called {name}")
    return Twin(name, method, tuple((field, value) for field, _, value in pairs))
