"""Finished runs as rows of a comparison: runs of the same settings with different seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ibc_pyg.compare.runs import scores_of
from ibc_pyg.config import Config
from ibc_pyg.config.files.yaml_file import config_from_yaml, config_to_dict
from ibc_pyg.config.plugged import plugged_sources
from ibc_pyg.errors import RunError, printable
from ibc_pyg.runs.resume import first_difference
from ibc_pyg.runs.run_folder import RunFolder
from ibc_pyg.runs.source_record import read_sources


@dataclass(frozen=True)
class FoundRow:
    """Runs that differ in their seed alone.

    Attributes:
        name: Name of their folders, or of the folder of all of them if they are named by seeds.
        paths: Run folders, by ascending seed.
        seeds: Their seeds.
    """

    name: str
    paths: tuple[Path, ...]
    seeds: tuple[int, ...]


@dataclass(frozen=True)
class _Run:
    path: Path
    config: Config
    code: frozenset[tuple[str, str | None]]

    def same_row(self, other: _Run) -> bool:
        return self.code == other.code and not first_difference(
            _without_seed(self.config), _without_seed(other.config)
        )


def find_rows(paths: Sequence[Path]) -> list[FoundRow]:
    """Return the rows that runs make, in the order of their first runs.

    Args:
        paths: Run folders; logs that lie beside them are left out.

    Raises:
        RunError: If one is not a run, or of another data set than the first, or a row has a seed
            twice.
    """
    groups: list[list[_Run]] = []
    folders = [path for path in paths if not (path.suffix == ".log" and path.is_file())]
    for path in dict.fromkeys(each.resolve() for each in folders):
        run = _open(path)
        first = groups[0][0] if groups else run
        if run.config.data.name != first.config.data.name:
            raise RunError(
                f"{printable(path)} is a run on {run.config.data.name}, but "
                f"{printable(first.path)} on {first.config.data.name}; a table is of one data set"
            )
        same = next((group for group in groups if group[0].same_row(run)), None)
        if same is None:
            groups.append([run])
        else:
            same.append(run)
    names = _unique([_name(group) for group in groups])
    if not groups:
        raise RunError("--from names no run folder")
    return [_row(name, group) for name, group in zip(names, groups, strict=True)]


def read_rows(rows: Sequence[FoundRow]) -> dict[FoundRow, list[dict[str, Any]]]:
    """Return the summaries of each row.

    Raises:
        RunError: If a run is not finished, or was not tested.
    """
    return {row: [scores_of(RunFolder(path)) for path in row.paths] for row in rows}


def _open(path: Path) -> _Run:
    config = config_from_yaml(RunFolder.open(path).config)
    sources, named = read_sources(path), plugged_sources(config)
    code = frozenset((name, sources[name].sha256) for name in named if name in sources)
    return _Run(path, config, code)


def _row(name: str, group: Sequence[_Run]) -> FoundRow:
    ordered = sorted(group, key=lambda run: run.config.train.seed)
    seeds = [run.config.train.seed for run in ordered]
    for at, seed in enumerate(seeds[1:], start=1):
        if seed == seeds[at - 1]:
            raise RunError(
                f"{printable(ordered[at - 1].path)} and {printable(ordered[at].path)} are runs of "
                f"the same settings and seed {seed}; give one of them"
            )
    return FoundRow(name, tuple(run.path for run in ordered), tuple(seeds))


def _name(group: Sequence[_Run]) -> str:
    path, seed = group[0].path, group[0].config.train.seed
    if path.name == f"seed-{seed}":
        return path.parent.name
    # runs/cub-0, runs/cub-1 and runs/cub-2 are the row cub.
    return path.name.removesuffix(str(seed)).rstrip("-_.") if len(group) > 1 else path.name


def _unique(names: Sequence[str]) -> list[str]:
    """Return names of which those that occur again are numbered."""
    seen: dict[str, int] = {}
    unique = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        unique.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return unique


def _without_seed(config: Config) -> dict[str, Any]:
    return config_to_dict(replace(config, train=replace(config.train, seed=0)))
