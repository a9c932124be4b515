"""Rows of a comparison: means over seeds, the values of each seed, differences and their tests."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeVar

from ibc_pyg.compare.statistics import (
    Difference,
    Estimate,
    Spread,
    estimate,
    holm,
    paired_difference,
)
from ibc_pyg.errors import ConfigError, did_you_mean
from ibc_pyg.metrics.names import HEADLINES, OWN


class Named(Protocol):
    """Something with a name: the setting that a row is about."""

    @property
    def name(self) -> str:
        """Name of the row."""


Setting = TypeVar("Setting", bound=Named)


@dataclass(frozen=True)
class Row:
    """One setting.

    Attributes:
        name: Name of the setting.
        metrics: Mean over seeds of each metric: fractions in [0, 1], own ones of any range.
        differences: Paired differences to the reference, over the seeds that both have; empty in
            the row of the reference.
        seconds: Training time, mean over seeds.
        seeds: Finished seeds.
        pairs: The same differences to further rows, by their names.
        parameters: Trainable parameters; None for runs of an earlier version.
        multiply_adds: Of the forward pass of one training batch; None where they are unknown.
        values: Value of each seed, in the order of `seeds`, of each metric.
        label: Text shown for the row; empty for its name.
    """

    name: str
    metrics: Mapping[str, Estimate]
    differences: Mapping[str, Difference]
    seconds: float
    seeds: tuple[int, ...]
    pairs: Mapping[str, Mapping[str, Difference]] = field(default_factory=dict)
    parameters: int | None = None
    multiply_adds: int | None = None
    values: Mapping[str, Sequence[float]] = field(default_factory=dict)
    label: str = ""

    @property
    def text(self) -> str:
        """The label, or the name without one."""
        return self.label or self.name


@dataclass(frozen=True)
class Comparison:
    """All rows, with the command and the machine.

    Attributes:
        rows: One per setting.
        command: The command line.
        environment: Environment of the process that wrote the table.
        floor: R@1 of the raw pixels, if the runs have it.
        chosen_on_test: Whether a run's epoch was chosen on the test classes.
        reference: Name of the row that the others are compared with; None means the first.
        notes: Further lines below the table.
        show: What follows each mean: half of the 95 % interval, the standard deviation, or the
            standard error. Differences have the 95 % interval always.
    """

    rows: Sequence[Row]
    command: str
    environment: Mapping[str, Any]
    floor: float | None = None
    chosen_on_test: bool = False
    reference: str | None = None
    notes: Sequence[str] = ()
    show: Spread = "ci"

    @property
    def headlines(self) -> list[str]:
        """Headline metrics that at least one row has, fractions in [0, 1]."""
        return [name for name in HEADLINES if any(name in row.metrics for row in self.rows)]

    @property
    def metrics(self) -> list[str]:
        """Headline metrics, and metrics of the user's own, that at least one row has."""
        names = dict.fromkeys(name for row in self.rows for name in row.metrics)
        return [*self.headlines, *(name for name in names if name.startswith(OWN))]

    @property
    def has_differences(self) -> bool:
        """Whether a row is compared with the reference."""
        return any(row.differences for row in self.rows)

    @property
    def against(self) -> str:
        """Text of the row that the others are compared with."""
        if self.reference is None:
            return "the first row"
        return self.text_of(self.reference)

    def text_of(self, name: str) -> str:
        """Return the text shown for a row."""
        return next((row.text for row in self.rows if row.name == name), name)


def make_rows(
    results: Mapping[Setting, Sequence[Mapping[str, Any]]],
    *,
    reference: str | None = None,
    pairs: Iterable[tuple[str, str]] = (),
    labels: Mapping[str, str] | None = None,
) -> list[Row]:
    """Return one row per setting; metrics that a run lacks are left out.

    Args:
        results: Setting to the summaries of its runs.
        reference: Name of the row that the others are compared with; None takes the first.
        pairs: Pairs of names; the first row of each is also compared with the second.
        labels: Texts shown for rows, by their names.
    """
    by_name: dict[str, Sequence[Mapping[str, Any]]] = {
        setting.name: summaries for setting, summaries in results.items()
    }
    reference = next(iter(by_name)) if reference is None else reference
    rows = []
    for name, summaries in by_name.items():
        values = {
            metric: [float(summary[metric]) for summary in summaries]
            for metric in _compared(summaries)
        }
        others = [other for first, other in pairs if first == name and other in by_name]
        cost: Mapping[str, Any] = next(
            (summary["cost"] for summary in summaries if summary.get("cost")), {}
        )
        rows.append(
            Row(
                name,
                {metric: estimate(found) for metric, found in values.items()},
                {} if name == reference else _differences(summaries, by_name.get(reference, ())),
                estimate([float(summary["train_seconds"]) for summary in summaries]).mean,
                tuple(int(summary["seed"]) for summary in summaries),
                {other: _differences(summaries, by_name[other]) for other in others},
                cost.get("trainable_parameters"),
                cost.get("multiply_adds"),
                values,
                (labels or {}).get(name, ""),
            )
        )
    return corrected(rows, reference)


def corrected(rows: Sequence[Row], reference: str) -> list[Row]:
    """Return the rows with p-values corrected for all differences of the same metric.

    Args:
        rows: The rows.
        reference: Name of the row that the others are compared with. A pair with it is the same
            difference again, and counts once.
    """
    tables = [
        table
        for row in rows
        for table in (
            row.differences,
            *(found for name, found in row.pairs.items() if name != reference),
        )
    ]
    found: list[dict[str, Difference]] = [{} for _ in tables]
    for metric in dict.fromkeys(name for table in tables for name in table):
        places = [at for at, table in enumerate(tables) if metric in table]
        tested = holm([tables[at][metric] for at in places])
        for at, difference in zip(places, tested, strict=True):
            found[at][metric] = difference
    rest = iter(found)
    result = []
    for row in rows:
        mine = next(rest)
        pairs = {name: mine if name == reference else next(rest) for name in row.pairs}
        result.append(replace(row, differences=mine, pairs=pairs))
    return result


def parse_labels(given: Sequence[str], names: Sequence[str]) -> dict[str, str]:
    """Parse `NAME=TEXT` each, where the name of a row may itself hold `=`.

    Args:
        given: The options.
        names: Names of all rows.

    Raises:
        ConfigError: If one names no row, or has no text, or two rows get the same text.
    """
    labels: dict[str, str] = {}
    for text in given:
        name = max((each for each in names if text.startswith(f"{each}=")), key=len, default=None)
        if name is None:
            hint = did_you_mean(text.rpartition("=")[0] or text, names)
            raise ConfigError(f"--label {text!r} must read NAME=TEXT, with a row's name; {hint}")
        label = text.removeprefix(f"{name}=").strip()
        if not label:
            raise ConfigError(f"--label {text!r} has no text after {name}=")
        labels[name] = label
    shown = [labels.get(name, name) for name in names]
    if twice := sorted({each for each in shown if shown.count(each) > 1}):
        raise ConfigError(f"--label: two rows would be named {twice[0]!r}")
    return labels


def _differences(
    summaries: Sequence[Mapping[str, Any]], others: Sequence[Mapping[str, Any]]
) -> dict[str, Difference]:
    of_seed = {summary["seed"]: summary for summary in others}
    both = [(mine, of_seed[mine["seed"]]) for mine in summaries if mine["seed"] in of_seed]
    return {
        metric: paired_difference(
            [float(mine[metric]) for mine, _ in both], [float(other[metric]) for _, other in both]
        )
        for metric in _compared([summary for pair in both for summary in pair])
    }


def _compared(summaries: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the headline metrics and the own metrics that all summaries have."""
    names = [name for name in next(iter(summaries), ()) if name.startswith(OWN)]
    return [
        name
        for name in (*HEADLINES, *names)
        if summaries and all(name in summary for summary in summaries)
    ]
