"""Commands, one module each: NAME, HELP, `add_arguments`, `run`; heavy imports are in `run`."""

from __future__ import annotations

from types import ModuleType

from ibc_pyg.commands import (
    compare,
    data,
    demo,
    evaluate,
    experiments,
    explain,
    export,
    import_official,
    index,
    refine,
    report,
    reproduce,
    search,
    serve,
    sweep,
    train,
)

COMMANDS: tuple[ModuleType, ...] = (
    demo,
    train,
    experiments,
    evaluate,
    refine,
    index,
    search,
    serve,
    explain,
    report,
    compare,
    sweep,
    reproduce,
    data,
    import_official,
    export,
)
