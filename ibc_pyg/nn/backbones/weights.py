"""Weights from a local file, without unpickling."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file as load_safetensors
from torch import Tensor, nn

from ibc_pyg.errors import ConfigError, first_line

_IN_MODEL = "backbone."


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """Read a state dictionary.

    Args:
        path: A `.safetensors` file, or one that `torch.save` wrote with tensors only. From a run's
            `model.safetensors` the backbone is taken.

    Raises:
        ConfigError: If the file is missing, damaged, or holds other things than tensors.

    """
    path = Path(path)
    if path.is_dir():
        raise ConfigError(f"model.weights: {path} is a folder; name a file in it")
    if not path.is_file():
        raise ConfigError(f"model.weights: there is no file {path}")
    try:
        if path.suffix == ".safetensors":
            state: object = load_safetensors(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ConfigError(
            f"model.weights: {path} holds more than tensors, or no weights at all, and is not "
            "unpickled; save its state_dict() alone"
        ) from error
    except Exception as error:  # the reader of a damaged file may stumble anywhere
        raise ConfigError(f"model.weights: {path} cannot be read: {first_line(error)}") from error
    if isinstance(state, Mapping) and isinstance(state.get("state_dict"), Mapping):
        state = state["state_dict"]
    if isinstance(state, Mapping) and any(str(key).startswith(_IN_MODEL) for key in state):
        # A run's model.safetensors: the backbone is a part of it.
        state = {
            str(key).removeprefix(_IN_MODEL): value
            for key, value in state.items()
            if str(key).startswith(_IN_MODEL)
        }
    if not isinstance(state, Mapping) or not all(isinstance(v, Tensor) for v in state.values()):
        raise ConfigError(f"model.weights: {path} is no state dictionary of tensors")
    return {str(key): value for key, value in state.items()}


def fit_weights(
    module: nn.Module,
    state: Mapping[str, Tensor],
    *,
    source: str | Path,
    fresh: tuple[str, ...] = (),
) -> None:
    """Copy weights into a module, or refuse with the first key that does not fit.

    Args:
        module: What is filled.
        state: Weights by name.
        source: Where they came from, for the message.
        fresh: Beginnings of names that keep their own values: the module's need not be in
            `state`, and those of `state` are passed over.

    Raises:
        ConfigError: If a key is missing, left over, or of another shape.

    """
    own = module.state_dict()
    for key, value in own.items():
        if key.startswith(fresh):
            continue
        if key not in state:
            if key.endswith("num_batches_tracked"):
                continue
            raise ConfigError(
                f"model.weights: {source} has no {key!r}, which the backbone needs; are these the "
                f"weights of another network? They begin with {next(iter(state), 'nothing')!r}"
            )
        if state[key].shape != value.shape:
            raise ConfigError(
                f"model.weights: {source}: {key!r} has shape {list(state[key].shape)}, the "
                f"backbone needs {list(value.shape)}"
            )
    for key in state:
        if key not in own and not key.startswith(fresh):
            raise ConfigError(f"model.weights: {source}: the backbone has no {key!r}")
    kept = {key: value for key, value in state.items() if key in own and not key.startswith(fresh)}
    module.load_state_dict(kept, strict=False)
