"""One module a command: NAME, HELP, `add_arguments`, `run`. Heavy imports wait for `run`."""

from __future__ import annotations

from types import ModuleType

from ibc_pyg.commands import (
    compare,
    data,
    demo,
    evaluate,
    export,
    import_official,
    report,
    search,
    sweep,
    train,
)

COMMANDS: tuple[ModuleType, ...] = (
    demo,
    train,
    evaluate,
    search,
    report,
    compare,
    sweep,
    data,
    import_official,
    export,
)
