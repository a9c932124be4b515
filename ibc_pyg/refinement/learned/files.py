"""Refiners in the folder of a run: weights and settings."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from ibc_pyg.errors import ConfigError, RunError, printable, program, reason
from ibc_pyg.files import check_safetensors, parse_json, write_atomically
from ibc_pyg.refinement.learned.config import RefinerConfig
from ibc_pyg.refinement.learned.refiner import Refiner
from ibc_pyg.runs.run_folder import REFINER

_FORMAT = "1"
_WIDEST = 65_536


def save_refiner(
    folder: Path, refiner: Refiner, *, weights: str, record: Mapping[str, Any]
) -> Path:
    """Write a refiner to the folder of a run, atomically.

    Args:
        folder: Folder of the run.
        refiner: The refiner.
        weights: `weights_hash` of the backbone whose descriptors it refines.
        record: How it was trained; plain values.

    Returns:
        The file.
    """
    metadata = {
        "format": _FORMAT,
        "kind": "refiner",
        "channels": str(refiner.channels),
        "share": repr(refiner.share),
        "backbone_sha256": weights,
        "config": json.dumps(asdict(refiner.config)),
        "record": json.dumps(record),
    }
    tensors = {name: tensor.contiguous() for name, tensor in refiner.state_dict().items()}
    write_atomically(folder / REFINER, save(tensors, metadata=metadata))
    return folder / REFINER


def load_refiner(path: Path, *, weights: str | None = None) -> Refiner:
    """Read a refiner without unpickling; its settings are checked before anything is made.

    Nothing is imported: a refiner cannot name a graph layer of the user.

    Args:
        path: The file, or the folder of its run.
        weights: `weights_hash` of the backbone whose descriptors are refined; None does not
            compare.

    Raises:
        RunError: If the file is missing, damaged, no refiner, or belongs to other weights.
    """
    file = path / REFINER if path.is_dir() else path
    if not file.is_file():
        raise RunError(
            f"there is no {printable(file)}; train a refiner: {program()} refine "
            f"{printable(file.parent)}"
        )
    try:
        check_safetensors(file)
        with safe_open(file, framework="pt") as opened:
            metadata = opened.metadata() or {}
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise RunError(f"{file} cannot be read: {reason(error)}") from error
    if metadata.get("kind") != "refiner" or metadata.get("format") != _FORMAT:
        raise RunError(
            f"{file} is not a refiner of this version; train it again: {program()} refine"
        )
    if weights is not None and metadata.get("backbone_sha256") != weights:
        raise RunError(
            f"{printable(file)} was trained for other weights than those of the model; train it "
            f"again: {program()} refine RUN_DIR"
        )
    channels, share, config = _settings(file, metadata)
    with torch.random.fork_rng(devices=[]):
        refiner = Refiner(channels, config, share=share)
    own = refiner.state_dict()
    wrong = next(
        (
            name
            for name in sorted(own.keys() | tensors.keys())
            if name not in own
            or name not in tensors
            or own[name].shape != tensors[name].shape
            or not bool(tensors[name].isfinite().all())
        ),
        None,
    )
    if wrong is not None:
        raise RunError(f"{file} is damaged: {wrong} is missing, of another shape or not finite")
    refiner.load_state_dict(tensors)
    return refiner.requires_grad_(False).eval()


def _settings(file: Path, metadata: Mapping[str, str]) -> tuple[int, float, RefinerConfig]:
    try:
        channels, share = int(metadata["channels"]), float(metadata["share"])
        values = parse_json(metadata["config"])
        known = {field.name: field for field in fields(RefinerConfig)}
        if not isinstance(values, dict) or set(values) != set(known):
            raise ValueError("its settings are not those of a refiner")
        default = RefinerConfig()
        for name, value in values.items():
            kind = type(getattr(default, name))
            if not isinstance(value, kind) and not (kind is float and isinstance(value, int)):
                raise ValueError(f"{name} is {type(value).__name__}, expected {kind.__name__}")
        if not 1 <= channels <= _WIDEST or not (math.isfinite(share) and 0 <= share <= 1):
            raise ValueError("its width or share is out of range")
        return channels, share, RefinerConfig(**values)
    except (KeyError, TypeError, ValueError, ConfigError) as error:
        problem = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise RunError(f"{file} is damaged: {problem}") from error
