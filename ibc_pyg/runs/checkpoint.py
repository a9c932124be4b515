"""Atomic checkpoints of safetensors and JSON, verified by their hashes.

A checkpoint is a folder `step-00001234` with `tensors.safetensors`, optional further files, and
`state.json`, which holds everything but tensors, and the hashes of all files and of itself. It is
written under another name and then renamed. Nothing is unpickled.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeAlias

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from ibc_pyg.errors import RunError, printable
from ibc_pyg.files import file_digest, read_json, refuse_link, sync_folder, write_atomically

_logger = logging.getLogger(__name__)
_TENSOR = "__tensor__"
_PREFIX = "step-"
_TENSORS = "tensors.safetensors"
_OWN = "sha256_of_this"

Tree: TypeAlias = Any
"""Dictionaries, lists, tensors, numbers, strings, booleans and None, nested."""


def save_checkpoint(
    folder: Path,
    step: int,
    state: Tree,
    *,
    keep: int = 2,
    files: Mapping[str, Path] | None = None,
) -> Path:
    """Write the checkpoint of `step` and remove all but the newest `keep`.

    Args:
        folder: Folder of a run's checkpoints.
        step: Optimiser steps taken so far, >= 0.
        state: State that `load_checkpoint` returns.
        keep: Number of checkpoints to keep, >= 1.
        files: Files to store in the checkpoint, by their names there. They are hard links where
            the file system supports them: replace such a file, never write into it.

    Raises:
        RunError: If it cannot be written, or the folder is a link; the earlier checkpoints are then
            unchanged.
    """
    refuse_link(folder)
    target = checkpoint_path(folder, step)
    partial, old = (folder / f".{target.name}.{what}" for what in ("partial", "old"))
    tensors: dict[str, Tensor] = {}
    skeleton = _pack(state, "", tensors)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for left in (partial, old):
            _remove(left)
        partial.mkdir()
        blob = save(tensors)
        write_atomically(partial / _TENSORS, blob)
        hashes = {_TENSORS: hashlib.sha256(blob).hexdigest()}
        for name, path in (files or {}).items():
            _link(path, partial / name)
            hashes[name] = file_digest(partial / name)
        document = {"step": step, "sha256": hashes, "state": skeleton}
        document[_OWN] = _hash_of(document)
        write_atomically(partial / "state.json", json.dumps(document).encode())
        if target.exists():
            target.rename(old)
        partial.rename(target)
        sync_folder(folder)
    except OSError as error:
        _remove(partial)
        raise RunError(f"checkpoint {target} cannot be written: {error.strerror}") from error
    except RunError:
        # A partial checkpoint must not fill the disk.
        _remove(partial)
        raise
    _remove(old)
    for older in list_checkpoints(folder)[:-keep]:
        _remove(older)
    return target


def checkpoint_path(folder: Path, step: int) -> Path:
    """Return the folder of the checkpoint of a step."""
    return folder / f"{_PREFIX}{step:08d}"


def drop_after(folder: Path, step: int) -> None:
    """Remove the checkpoints after `step`, and partial ones that a kill left.

    A training that resumes at `step` writes later checkpoints again; until then, a damaged one must
    not count as one of the newest.
    """
    newer = [path for path in list_checkpoints(folder) if path > checkpoint_path(folder, step)]
    for path in [*newer, *folder.glob(f".{_PREFIX}*")]:
        _remove(path)


def list_checkpoints(folder: Path) -> list[Path]:
    """Return the checkpoints of a run, oldest first, including damaged ones."""
    return sorted(folder.glob(f"{_PREFIX}{'[0-9]' * 8}")) if folder.is_dir() else []


def load_checkpoint(path: Path) -> tuple[int, Tree]:
    """Read one checkpoint.

    Returns:
        The step and the state.

    Raises:
        RunError: If a file is missing, truncated or changed.
    """
    if not (path / "state.json").is_file():
        raise RunError(f"checkpoint {path} is damaged: state.json is not a file")
    document = read_json(path / "state.json")
    try:
        if document.pop(_OWN) != _hash_of(document):
            raise RunError(f"checkpoint {path} is damaged: state.json was changed")
        hashes = document["sha256"]
        for name in {_TENSORS, *hashes}:
            # A name may lead out of the folder, and a pipe would be waited for.
            if Path(name).name != name or not (path / name).is_file():
                raise RunError(f"checkpoint {path} is damaged: {printable(name)} is not a file")
        blob = (path / _TENSORS).read_bytes()
        found = {_TENSORS: hashlib.sha256(blob).hexdigest()}
        found |= {name: file_digest(path / name) for name in hashes if name != _TENSORS}
        for name, value in hashes.items():
            if found[name] != value:
                raise RunError(f"checkpoint {path} is damaged: {name} was truncated or changed")
        return int(document["step"]), _unpack(document["state"], load(blob))
    except OSError as error:
        raise RunError(f"checkpoint {path} is damaged: {error.strerror}") from error
    except (AttributeError, KeyError, TypeError, ValueError, SafetensorError) as error:
        raise RunError(f"checkpoint {path} is damaged: {error}") from error


def load_newest(folder: Path) -> tuple[int, Tree]:
    """Read the newest intact checkpoint.

    Raises:
        RunError: If there is none.
    """
    for path in reversed(list_checkpoints(folder)):
        try:
            return load_checkpoint(path)
        except RunError as error:
            _logger.warning("%s; trying the previous one", error)
    raise RunError(f"{folder} has no intact checkpoint; start again, with another --out")


def _pack(tree: Tree, path: str, tensors: dict[str, Tensor]) -> Tree:
    if isinstance(tree, Tensor):
        # clone: safetensors refuses tensors that share memory, as tied or viewed weights do.
        tensors[path] = tree.detach().cpu().contiguous().clone()
        return {_TENSOR: path}
    if isinstance(tree, dict):
        packed = [[key, _pack(value, f"{path}/{key}", tensors)] for key, value in tree.items()]
        return {"items": packed}
    if isinstance(tree, list | tuple):
        return [_pack(value, f"{path}/{index}", tensors) for index, value in enumerate(tree)]
    return tree


def _unpack(tree: Tree, tensors: dict[str, Tensor]) -> Tree:
    if isinstance(tree, dict):
        if _TENSOR in tree:
            return tensors[tree[_TENSOR]]
        return {key: _unpack(value, tensors) for key, value in tree["items"]}
    if isinstance(tree, list):
        return [_unpack(value, tensors) for value in tree]
    return tree


def _remove(path: Path) -> None:
    """Remove a folder, or a link in its place; what cannot be removed is left."""
    if path.is_symlink():
        with suppress(OSError):
            path.unlink()
    else:
        shutil.rmtree(path, ignore_errors=True)


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:
        # The file system has no hard links.
        shutil.copyfile(source, target)


def _hash_of(document: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(document).encode()).hexdigest()
