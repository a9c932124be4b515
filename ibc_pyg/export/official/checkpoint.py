"""Released checkpoints: reading, and checks that report the first mismatching key."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from ibc_pyg.errors import RunError
from ibc_pyg.nn.weights import read_weight_file

_PARALLEL_PREFIX = "module."


def load_state_dict_file(path: str | Path) -> dict[str, Tensor]:
    """Read a state dict without unpickling.

    Args:
        path: The file; see `ibc_pyg.nn.weights.read_weight_file`.

    Returns:
        Tensors on the CPU by key, without the prefix `module.` of DataParallel.

    Raises:
        RunError: If the file is missing, damaged, or holds anything but tensors.
    """
    state = read_weight_file(Path(path))
    try:
        return clean_state_dict(state)
    except RunError as error:
        raise RunError(f"{path}: {error}") from None


def clean_state_dict(state_dict: object) -> dict[str, Tensor]:
    """Check a state dict, and remove the prefix `module.` of DataParallel from its keys.

    Raises:
        RunError: If it is not a mapping of strings to tensors, or is empty.
    """
    if not isinstance(state_dict, Mapping):
        raise RunError(f"not a state dict but {type(state_dict).__name__}")
    if not state_dict:
        raise RunError("the state dict is empty")
    for key, value in state_dict.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            raise RunError(
                f"not a state dict: key {key!r} holds {type(value).__name__}, not a tensor"
            )
    prefixed = all(key.startswith(_PARALLEL_PREFIX) for key in state_dict)
    return {
        key.removeprefix(_PARALLEL_PREFIX) if prefixed else key: value
        for key, value in state_dict.items()
    }


def check_known(state_dict: Mapping[str, Tensor], patterns: Sequence[str], what: str) -> None:
    """Check that all keys are known.

    Args:
        state_dict: Tensors by key.
        patterns: Regular expressions; each key must match one of them in full.
        what: Expected content of the file, for the message.

    Raises:
        RunError: Naming the first key that matches none.
    """
    known = re.compile("|".join(f"(?:{pattern})" for pattern in patterns))
    for key in state_dict:
        if not known.fullmatch(key):
            raise RunError(f"not the weights of {what}: key {key!r} is unknown")


def count_numbered(keys: Iterable[str], prefix: str, what: str) -> int:
    """Count the entries of a numbered list of layers, `prefix` + `0.`, `1.`, ...

    Raises:
        RunError: If there is none, or a number is missing.
    """
    first_key: dict[int, str] = {}
    for key in keys:
        if match := re.match(re.escape(prefix) + r"(\d+)\.", key):
            first_key.setdefault(int(match[1]), key)
    for position, number in enumerate(sorted(first_key)):
        if number != position:
            raise RunError(
                f"not the weights of {what}: key {first_key[number]!r} without {prefix}{position}"
            )
    if not first_key:
        raise RunError(f"not the weights of {what}: key '{prefix}0' is missing")
    return len(first_key)


def require(state_dict: Mapping[str, Tensor], key: str, dims: int, what: str) -> Tensor:
    """Return the tensor of a key.

    Raises:
        RunError: If the key is missing, or the tensor has another number of dimensions.
    """
    if key not in state_dict:
        raise RunError(f"not the weights of {what}: key {key!r} is missing")
    value = state_dict[key]
    if value.dim() != dims:
        raise RunError(
            f"not the weights of {what}: key {key!r} has shape {list(value.shape)}, expected "
            f"{dims} dimensions"
        )
    return value


def load_renamed(
    module: nn.Module,
    state_dict: Mapping[str, Tensor],
    names: Mapping[str, str],
    what: str,
) -> None:
    """Check released tensors and load copies of them into a module on the meta device.

    Half precision is converted to float32.

    Args:
        module: The module.
        state_dict: Tensors by released key.
        names: Released key of each key of the module.
        what: Expected content of the file, for the message.

    Raises:
        RunError: Naming the first key that is unexpected, missing or of wrong shape.
    """
    own = {released: key for key, released in names.items()}
    expected = module.state_dict()
    for key, value in state_dict.items():
        if key not in own:
            raise RunError(f"not the weights of {what}: unexpected key {key!r}")
        shape = expected[own[key]].shape
        if value.shape != shape:
            raise RunError(
                f"not the weights of {what}: key {key!r} has shape {list(value.shape)}, expected "
                f"{list(shape)}"
            )
    loaded = {}
    for key, released in names.items():
        if released in state_dict:
            value = state_dict[released].detach().clone()
        elif key.endswith("num_batches_tracked"):  # not written by PyTorch before 0.4.1
            value = torch.zeros((), dtype=torch.long)
        else:
            raise RunError(f"not the weights of {what}: key {released!r} is missing")
        if value.dtype in (torch.float16, torch.bfloat16):
            value = value.float()
        loaded[key] = value
    module.load_state_dict(loaded, assign=True)
