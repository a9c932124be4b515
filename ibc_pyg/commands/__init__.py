"""Commands, one module each: NAME, HELP, `add_arguments`, `run`; heavy imports are in `run`."""

from __future__ import annotations

from types import ModuleType

from ibc_pyg.commands import (
    compare,
    data,
    demo,
    evaluate,
    explain,
    export,
    import_official,
    index,
    report,
    search,
    sweep,
    train,
)

COMMANDS: tuple[ModuleType, ...] = (
    demo,
    train,
    evaluate,
    index,
    search,
    explain,
    report,
    compare,
    sweep,
    data,
    import_official,
    export,
)
