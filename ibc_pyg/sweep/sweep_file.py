"""Sweep files, in W&B's format."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ibc_pyg.config.files.renamed import current_path
from ibc_pyg.config.files.yaml_file import read_yaml
from ibc_pyg.errors import ConfigError
from ibc_pyg.sweep import MOST_TRIALS
from ibc_pyg.sweep.space import Parameter, make_parameter

# W&B refuses any other key.
_KEYS = {
    "apiVersion", "kind", "controller", "description", "program", "job", "image_uri", "entity",
    "project", "method", "command", "name", "run_cap", "metric", "metrics", "scheduler",
    "early_terminate", "parameters",
}  # fmt: skip

_LONGEST = 1000
"""Most characters of a message, which may name what the file holds."""


@dataclass(frozen=True)
class Sweep:
    """Search space and score of a sweep.

    Attributes:
        path: The file.
        method: random, or grid.
        metric: Name of the score in metrics.jsonl, on held-out training classes: `val/...`.
        maximize: Whether higher is better.
        parameters: The search space.
        experiments: Experiment file of `command` and the overlays on it; empty without a command.
        fields: Options of `command`, which apply to every run.
        run_cap: Maximum number of trials; None if not set.
    """

    path: Path
    method: Literal["random", "grid"]
    metric: str
    maximize: bool
    parameters: tuple[Parameter, ...]
    experiments: tuple[Path, ...] = ()
    fields: tuple[str, ...] = ()
    run_cap: int | None = None

    def trials(self, count: int, seed: int) -> list[dict[str, Any]]:
        """Return the values of each trial, by field; a grid may have fewer."""
        if self.method == "grid":
            grid = itertools.product(*(each.choices()[:count] for each in self.parameters))
            names = [each.name for each in self.parameters]
            return [
                dict(zip(names, values, strict=True)) for values in itertools.islice(grid, count)
            ]
        return [
            {each.name: each.draw(seed, trial) for each in self.parameters}
            for trial in range(count)
        ]


def read_sweep(path: Path) -> Sweep:
    """Read a sweep file.

    Raises:
        ConfigError: If it is not in W&B's format, needs W&B's server, or would select by the test
            classes.
    """
    content = read_yaml(current_path(path))
    if not isinstance(content, Mapping):
        raise ConfigError(f"{path} must hold a sweep: method, metric, parameters")
    try:
        return _sweep(path, content)
    except ConfigError as error:
        raise ConfigError(f"{path}: {str(error)[:_LONGEST]}") from error


def _sweep(path: Path, content: Mapping[str, Any]) -> Sweep:
    if unknown := content.keys() - _KEYS:
        raise ConfigError(f"unknown key {', '.join(sorted(map(str, unknown)))}")
    method = content.get("method")
    if method not in ("random", "grid"):
        raise ConfigError(f"method must be random or grid without W&B's server, not {method}")
    described = content.get("parameters")
    if not isinstance(described, Mapping) or not described:
        raise ConfigError("parameters must hold fields of an experiment, such as train.lr")
    metric, maximize = _metric(content.get("metric"))
    experiments, fields = _command(content.get("command"))
    run_cap = content.get("run_cap")
    if run_cap is not None and (
        isinstance(run_cap, bool) or not isinstance(run_cap, int) or not 1 <= run_cap <= MOST_TRIALS
    ):
        raise ConfigError(
            f"run_cap must be a whole number from 1 to {MOST_TRIALS}, not {run_cap!r:.60}"
        )
    return Sweep(
        path,
        method,
        metric,
        maximize,
        tuple(make_parameter(str(name), value) for name, value in described.items()),
        experiments,
        fields,
        run_cap,
    )


def _metric(described: object) -> tuple[str, bool]:
    if not isinstance(described, Mapping) or "name" not in described:
        raise ConfigError("metric must hold name: val/R@1 and goal: maximize")
    name, goal = str(described["name"]), described.get("goal", "minimize")
    if not name.startswith("val/"):
        raise ConfigError(
            f"metric.name is {name}; selection must use held-out training classes, such as val/R@1"
        )
    if goal not in ("maximize", "minimize"):
        raise ConfigError(f"metric.goal must be maximize or minimize, not {goal!r}")
    return name, goal == "maximize"


def _command(words: object) -> tuple[tuple[Path, ...], tuple[str, ...]]:
    """Return the files and the fields of `[..., train, FILE, LAYER, --FIELD=VALUE, ${args}]`."""
    if words is None:
        return (), ()
    if not isinstance(words, list) or "train" not in words:
        raise ConfigError("command must be a list of words that holds train")
    texts = [str(word) for word in words[words.index("train") + 1 :]]
    texts = [text for text in texts if not re.fullmatch(r"\$\{\w+\}", text)]
    files = list(itertools.takewhile(lambda text: not text.startswith("--"), texts))
    if not files:
        raise ConfigError("command: train must be followed by an experiment file")
    return tuple(map(Path, files)), tuple(_fields(texts[len(files) :]))


def _fields(words: Sequence[str]) -> Iterator[str]:
    """Return each option with its value, except those of W&B and the run folder."""
    rest = iter(words)
    for word in rest:
        field, equals, value = word.partition("=")
        if not equals:
            value = next(rest, "")
        if not field.startswith(("--track.", "--out")):
            yield f"{field}={value}"
