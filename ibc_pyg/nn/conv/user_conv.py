"""Graph layers of the user."""

from __future__ import annotations

from torch import nn

from ibc_pyg.plugins import Plug, find_plug, is_reference
from ibc_pyg.plugins.plug import described


def layer_plug(name: str) -> Plug | None:
    """Import the class of a graph layer.

    Args:
        name: `FILE.py:NAME`, `package.module:NAME` or `package.module.NAME`, whose code is
            **executed**: name only what you trust; or an entry point.

    Returns:
        The plug of the class; None if the name is none of these.

    Raises:
        ConfigError: If there is no such file, module or class, the import fails, or it is not a
            class derived from `torch.nn.Module`.
    """
    if "." in name and not is_reference(name):
        name = ":".join(name.rsplit(".", 1))
    plug = find_plug("graph layer", name)
    if plug is None:
        return None
    cls = plug.target
    if not (isinstance(cls, type) and issubclass(cls, nn.Module)):
        plug.refuse(plug.kind.expected, described(cls))
    return plug
