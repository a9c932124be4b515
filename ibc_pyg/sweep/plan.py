"""Runs of a sweep: the trials of every method, then the winners with fresh seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from ibc_pyg.compare.grid import GridPoint, divide
from ibc_pyg.compare.runs import tracked
from ibc_pyg.config import Config, TrackConfig
from ibc_pyg.config.files.overlays import parse_overlays
from ibc_pyg.errors import ConfigError
from ibc_pyg.jobs.pool import Job
from ibc_pyg.sweep.sweep_file import Sweep


@dataclass(frozen=True)
class Method:
    """A method whose hyper-parameters are searched; a row of the table.

    Attributes:
        name: Name of the row.
        files: Experiment file and the overlays on it, in ascending order of precedence.
    """

    name: str
    files: tuple[Path, ...]


@dataclass(frozen=True)
class Control:
    """A control run: the winning values of a method with some fields changed, without a search.

    Attributes:
        name: Name of the row.
        method: Name of the method.
        values: The changed fields.
    """

    name: str
    method: str
    values: tuple[tuple[str, str], ...]

    @property
    def folder(self) -> str:
        """Name that is safe as a folder name."""
        # Run folders of earlier versions have this name.
        return GridPoint((("twin", self.name),)).folder


@dataclass(frozen=True)
class Plan:
    """All runs of a sweep.

    Attributes:
        sweep: Search space and score.
        methods: Methods, searched by the same values in the same space.
        controls: Control runs of the winners.
        fields: Options of every run.
        out: Folder of all runs and tables.
        count: Trials of each method; a grid may have fewer.
        seed: Seed of the drawn values, and of training and class split in every trial.
        seeds: Number of fresh seeds of each winner.
    """

    sweep: Sweep
    methods: Sequence[Method]
    controls: Sequence[Control]
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
        """Every trial, by method and number, ordered by number, then by method.

        Raises:
            ConfigError: If an experiment cannot be read, or a value is invalid.
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
        # Selection uses held-out training classes only; the final evaluation is reduced.
        evaluate = replace(config.evaluate, clustering=False, raw_pixels=False, refine="none")
        track = replace(config.track, report=False)
        return Job(
            f"{method.name}, trial {number}",
            self.out / method.name / f"trial-{number:03d}",
            tracked(
                replace(config, evaluate=evaluate, track=track),
                self.out.name,
                method.name,
                "trial",
                name=f"{method.name} trial {number}",
            ),
        )

    def final(self, row: Method | Control, winner: int, seed: int) -> Job:
        """Return a run of a winner, or of its control, on all training classes.

        Args:
            row: Row of the table.
            winner: Number of the method's best trial.
            seed: Fresh seed.
        """
        method = self.method(row)
        config = self.winner_config(row, winner, seed)
        folder = f"winner-{winner:03d}"
        if isinstance(row, Control):
            folder = f"{folder}-{row.folder}"
        return Job(
            f"{row.name}, seed {seed}",
            self.out / method.name / folder / f"seed-{seed}",
            tracked(config, self.out.name, row.name, "winner", name=f"{row.name} seed {seed}"),
        )

    def winner_config(self, row: Method | Control, winner: int, seed: int) -> Config:
        """Return the experiment of a winner, or of its control."""
        words = ["--select=last", "--retrain=false", f"--train.seed={seed}"]
        if isinstance(row, Control):
            words += [f"--{name}={value}" for name, value in row.values]
        return self._config(self.method(row), self.values[winner], words)

    def method(self, row: Method | Control) -> Method:
        """Return the method whose winning values a row has."""
        if isinstance(row, Method):
            return row
        return next(method for method in self.methods if method.name == row.method)

    @property
    def track(self) -> TrackConfig:
        """Fields of the experiment about tracking, as its files and the command line set them."""
        return self._config(self.methods[0], {}, []).track

    @property
    def rows(self) -> list[Method | Control]:
        """Rows of the table: each method, followed by its controls."""
        rows: list[Method | Control] = []
        for method in self.methods:
            rows.append(method)
            rows += [control for control in self.controls if control.method == method.name]
        return rows

    @property
    def final_seeds(self) -> range:
        """Seeds of the winners, none of which a trial has used."""
        return range(self.seed + 1, self.seed + 1 + self.seeds)

    def _config(self, method: Method, values: Mapping[str, Any], words: Sequence[str]) -> Config:
        chosen = [f"--{name}={text(value)}" for name, value in values.items()]
        return parse_overlays(method.files, [*self.fields, *chosen, *words])


def text(value: object) -> str:
    """Return a value as YAML on one line."""
    dumped = str(yaml.safe_dump(value, default_flow_style=True, width=10**6))
    return dumped.removesuffix("...\n").strip()


def make_methods(base: Sequence[Path], layers: Sequence[Path]) -> list[Method]:
    """Return one method for each overlay, named by its file.

    Args:
        base: Files below every overlay.
        layers: Overlays; without any, the base is the only method.

    Raises:
        ConfigError: If there are no files, or two methods have the same name.
    """
    if not base and not layers:
        raise ConfigError("--experiments: name a file, since the sweep file has no command")
    if not layers:
        return [Method(base[-1].stem, tuple(base))]
    names = [layer.stem for layer in layers]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigError(f"--experiments: two files are named {twice[0]}; rows need unique names")
    return [Method(layer.stem, (*base, layer)) for layer in layers]


def make_control(given: str, methods: Sequence[Method]) -> Control:
    """Parse `NAME:METHOD:FIELD=VALUE[,FIELD=VALUE]`.

    Raises:
        ConfigError: If the text has another form, or names an unknown method.
    """
    name, _, rest = given.partition(":")
    method, _, fields = rest.partition(":")
    pairs = [field.partition("=") for field in divide(fields)]
    if not name or not all(field and value for field, _, value in pairs):
        raise ConfigError(f"--control {given!r} must read NAME:METHOD:FIELD=VALUE[,FIELD=VALUE]")
    known = [each.name for each in methods]
    if method not in known:
        raise ConfigError(
            f"--control {given!r}: unknown method {method!r}; known: {', '.join(known)}"
        )
    if name in known:
        raise ConfigError(f"--control {given!r}: {name} is the name of a method")
    return Control(name, method, tuple((field, value) for field, _, value in pairs))
