"""References to code of the user: `FILE.py:NAME` and `package.module:NAME`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from ibc_pyg.errors import ConfigError, shown

# Prefixes of names that are no references.
_PREFIXES = ("timm:",)


@dataclass(frozen=True)
class Reference:
    """A class or function in a file or a module.

    Attributes:
        name: Name of the class or function.
        file: The file, which importing executes; None for a module.
        module: Dotted name of the module; None for a file.
    """

    name: str
    file: Path | None = None
    module: str | None = None

    @property
    def place(self) -> str:
        """The file or the module."""
        return str(self.module if self.file is None else self.file)


def is_reference(name: str) -> bool:
    """Return whether a name in a configuration refers to code of the user by a colon."""
    return ":" in name and not name.startswith(_PREFIXES)


def short_name(name: str) -> str:
    """Return the name of the class or function that a reference names; other names unchanged."""
    return name.rpartition(":")[2] if is_reference(name) else name


def named_file(reference: str) -> Path | None:
    """Return the file of `FILE.py:NAME`, which importing executes; None for other references."""
    place, colon, _ = reference.rpartition(":")
    return Path(place).expanduser() if colon and place.endswith(".py") else None


def named_module(reference: str) -> str | None:
    """Return the module of `package.module:NAME` or `package.module.NAME`; None for a file."""
    if named_file(reference) is not None:
        return None
    return reference.rpartition(":" if ":" in reference else ".")[0]


def parse_reference(text: str, field: str) -> Reference:
    """Split a reference.

    Args:
        text: `FILE.py:NAME` or `package.module:NAME`.
        field: Field of the configuration, for the message.

    Raises:
        ConfigError: If it has another form.
    """
    place, _, name = text.rpartition(":")
    if name.isidentifier():
        if place.endswith(".py"):
            return Reference(name, file=Path(place).expanduser())
        if re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)*", place):
            return Reference(name, module=place)
    raise ConfigError(
        f"{field}: {shown(text, 200)} is neither FILE.py:NAME nor package.module:NAME"
    )
