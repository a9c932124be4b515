"""Files of released weights: read without running code, refused by the first key that misfits."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor, nn

from ibc_pyg.errors import RunError

_PARALLEL_PREFIX = "module."


def load_state_dict_file(path: str | Path) -> dict[str, Tensor]:
    """Read a state dict; nothing in the file is ever run.

    Args:
        path: a `.safetensors` file, or what `torch.save` wrote (`.pth`, `.pt`): a state dict, or a
            dictionary that has one under `state_dict`.

    Returns:
        Tensors on the CPU by key, without the `module.` that DataParallel puts before each.

    Raises:
        RunError: the file is missing, broken, holds other things than tensors, or would have to
            run code to be read.

    """
    path = Path(path)
    if not path.is_file():
        raise RunError(f"{path}: no such file")
    content: object
    try:
        if path.suffix == ".safetensors":
            content = safetensors.torch.load_file(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    # Whatever a broken or hostile file raises on its way through the readers, it is not weights.
    except Exception as error:
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise RunError(
            f"{path}: not a file of weights ({reason}); wanted is a state dict as torch.save or "
            "safetensors writes it, which is read without running any code from it"
        ) from None
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    try:
        return clean_state_dict(content)
    except RunError as error:
        raise RunError(f"{path}: {error}") from None


def clean_state_dict(state_dict: object) -> dict[str, Tensor]:
    """Check that this is a state dict and take the `module.` of DataParallel off its keys.

    Raises:
        RunError: not a mapping of keys to tensors, or an empty one.

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
    """Refuse keys that no released `what` has.

    Args:
        state_dict: tensors by key.
        patterns: regular expressions, of which each key has to match one in full.
        what: what the file should be, for the message.

    Raises:
        RunError: naming the first key that matches none.

    """
    known = re.compile("|".join(f"(?:{pattern})" for pattern in patterns))
    for key in state_dict:
        if not known.fullmatch(key):
            raise RunError(f"not the weights of {what}: key {key!r} does not belong to one")


def count_numbered(keys: Iterable[str], prefix: str, what: str) -> int:
    """Count the entries of a numbered list of layers, `prefix` + `0.`, `1.`, ...

    Raises:
        RunError: there is none, or a number is left out.

    """
    first_key: dict[int, str] = {}
    for key in keys:
        if match := re.match(re.escape(prefix) + r"(\d+)\.", key):
            first_key.setdefault(int(match[1]), key)
    for position, number in enumerate(sorted(first_key)):
        if number != position:
            raise RunError(
                f"not the weights of {what}: key {first_key[number]!r}, but no {prefix}{position}"
            )
    if not first_key:
        raise RunError(f"not the weights of {what}: key '{prefix}0' is missing")
    return len(first_key)


def require(state_dict: Mapping[str, Tensor], key: str, dims: int, what: str) -> Tensor:
    """Return a tensor that the layout is read from.

    Raises:
        RunError: there is no such key, or it has another number of dimensions.

    """
    if key not in state_dict:
        raise RunError(f"not the weights of {what}: key {key!r} is missing")
    value = state_dict[key]
    if value.dim() != dims:
        raise RunError(
            f"not the weights of {what}: key {key!r} has shape {list(value.shape)}, wanted are "
            f"{dims} dimensions"
        )
    return value


def load_renamed(
    module: nn.Module,
    state_dict: Mapping[str, Tensor],
    names: Mapping[str, str],
    what: str,
) -> None:
    """Put tensors into a module made on the meta device, after checking that all of them fit.

    The module gets copies, half precision widened to float32.

    Args:
        module: takes the tensors.
        state_dict: tensors by released key.
        names: the released key of each of the module's own keys.
        what: what the file should be, for the message.

    Raises:
        RunError: naming the first key that is too much, has another shape, or is missing.

    """
    own = {released: key for key, released in names.items()}
    wanted = module.state_dict()
    for key, value in state_dict.items():
        if key not in own:
            raise RunError(f"not the weights of {what}: key {key!r} is too much")
        shape = wanted[own[key]].shape
        if value.shape != shape:
            raise RunError(
                f"not the weights of {what}: key {key!r} has shape {list(value.shape)}, wanted is "
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
