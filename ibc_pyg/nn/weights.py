"""Weight files, read without unpickling and loaded into modules key by key."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from ibc_pyg.errors import ConfigError, RunError, UserError, first_line, reason
from ibc_pyg.files import check_safetensors, open_input, open_zip

_BACKBONE = "backbone."


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read the weights of a run.

    Args:
        path: A safetensors file.

    Raises:
        RunError: If the file is missing or damaged.
    """
    try:
        check_safetensors(path)
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise RunError(f"{path} cannot be read: {reason(error)}") from error


def read_weight_file(path: Path) -> object:
    """Read a file of weights without unpickling.

    Args:
        path: A `.safetensors` file, or a file of `torch.save` with tensors only (`.pth`, `.pt`): a
            state dictionary, or a dictionary with one under `state_dict`.

    Returns:
        The state dictionary, on the CPU; its keys and values are not checked.

    Raises:
        RunError: If the file is missing, damaged, or cannot be read without unpickling.
    """
    if path.is_dir():
        raise RunError(f"{path} is a folder; name a file in it")
    if not path.is_file():
        raise RunError(f"there is no file {path}")
    try:
        if path.suffix == ".safetensors":
            check_safetensors(path)
            state: object = load_file(path)
        else:
            _check_size(path)
            state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise RunError(
            f"{path} holds objects other than tensors, or no weights, and is not unpickled; save "
            "the state_dict() alone, with torch.save or safetensors"
        ) from None
    except Exception as error:  # a damaged file can fail anywhere in the reader
        problem = reason(error) if isinstance(error, OSError) else first_line(error)
        raise RunError(f"{path} cannot be read: {problem}") from None
    if isinstance(state, Mapping) and isinstance(state.get("state_dict"), Mapping):
        return state["state_dict"]
    return state


def _check_size(path: Path) -> None:
    """Check that a file of `torch.save` does not unpack to many times its size.

    Raises:
        OSError: If it cannot be read.
        zipfile.BadZipFile: If it does, or the archive is damaged.
    """
    with open_input(path) as file:
        packed = file.read(4) == b"PK\x03\x04"
    if packed:
        with open_zip(path):
            pass


def read_backbone_weights(path: str | Path) -> dict[str, Tensor]:
    """Read the state dictionary in the file `model.weights`.

    Args:
        path: See `read_weight_file`. Of the `model.safetensors` of a run, the backbone is read.

    Raises:
        ConfigError: If the file is missing, damaged, or holds anything but tensors.
    """
    try:
        state = read_weight_file(Path(path))
    except RunError as error:
        raise ConfigError(f"model.weights: {error}") from error
    if isinstance(state, Mapping) and any(str(key).startswith(_BACKBONE) for key in state):
        # The model.safetensors of a run: the backbone is a part of it.
        state = {
            str(key).removeprefix(_BACKBONE): value
            for key, value in state.items()
            if str(key).startswith(_BACKBONE)
        }
    if not isinstance(state, Mapping) or not all(isinstance(v, Tensor) for v in state.values()):
        raise ConfigError(f"model.weights: {path} is not a state dictionary of tensors")
    return {str(key): value for key, value in state.items()}


def fit_weights(model: nn.Module, weights: Mapping[str, Tensor], source: Path) -> None:
    """Load the weights of a run into its model.

    Args:
        model: The model.
        weights: Weights by name.
        source: Their file, for the message.

    Raises:
        RunError: Naming the file and the first key that is missing, unexpected or of wrong shape.
    """
    _fit(model, weights, RunError(f"{source} does not fit the model"))


def fit_backbone_weights(
    backbone: nn.Module,
    weights: Mapping[str, Tensor],
    source: str | Path,
    *,
    fresh: tuple[str, ...] = (),
) -> None:
    """Load pretrained weights into a backbone.

    Args:
        backbone: The backbone.
        weights: Weights by name.
        source: Their file or name, for the message.
        fresh: Prefixes of keys that keep their initial values; `weights` need not have them, and
            they are ignored there.

    Raises:
        ConfigError: Naming the first key that is missing, unexpected or of wrong shape.
    """
    error = ConfigError(f"model.weights: {source} does not fit the backbone")
    # Files of old networks lack the number of batches seen, which nothing depends on.
    counters = [key for key in backbone.state_dict() if key.endswith("num_batches_tracked")]
    absent = (key for key in counters if key not in weights)
    _fit(backbone, weights, error, (*fresh, *absent))


def _fit(
    module: nn.Module,
    weights: Mapping[str, Tensor],
    error: UserError,
    fresh: tuple[str, ...] = (),
) -> None:
    own = module.state_dict()
    mismatch = _mismatch(
        {key: value for key, value in own.items() if not key.startswith(fresh)},
        {key: value for key, value in weights.items() if not key.startswith(fresh)},
    )
    if mismatch is not None:
        raise type(error)(f"{error}: {mismatch}")
    kept = {key: value for key, value in weights.items() if not key.startswith(fresh)}
    module.load_state_dict(kept, strict=False)


def _mismatch(own: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> str | None:
    for key, value in own.items():
        if key not in weights:
            return (
                f"{key} is missing; are these the weights of another network? Their first key is "
                f"{min(weights, default='missing')}"
            )
        if weights[key].shape != value.shape:
            return f"{key} is {list(weights[key].shape)}, not {list(value.shape)}"
    return next((f"unexpected key {key}" for key in weights if key not in own), None)


def weights_hash(module: nn.Module) -> str:
    """Return the SHA-256 of names, types, shapes and values of the weights of a module."""
    digest = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        if name.endswith("num_batches_tracked"):  # some files lack it, and nothing depends on it
            continue
        digest.update(f"{name} {value.dtype} {list(value.shape)}\n".encode())
        flat = value.detach().cpu().contiguous().flatten()
        digest.update(flat.view(torch.uint8).numpy().data if flat.numel() else b"")
    return digest.hexdigest()
