"""Code of the user in the place of a part: references to it, their import, and their checks.

No module of this package imports torch.
"""

from ibc_pyg.plugins.entry_points import entry_point, entry_point_names
from ibc_pyg.plugins.kinds import KINDS, Kind
from ibc_pyg.plugins.plug import Plug, blamed, find_plug, load_plug
from ibc_pyg.plugins.reference import is_reference, named_file, named_module, short_name

__all__ = [
    "KINDS",
    "Kind",
    "Plug",
    "blamed",
    "entry_point",
    "entry_point_names",
    "find_plug",
    "is_reference",
    "load_plug",
    "named_file",
    "named_module",
    "short_name",
]
