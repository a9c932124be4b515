"""Settings of the command line's own process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ibc_pyg.commands.options.process import limit_spinning

VARIABLES = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")


@pytest.mark.parametrize("chosen", [None, *VARIABLES])
def test_the_waiting_policy_of_the_user_stays(
    monkeypatch: pytest.MonkeyPatch, chosen: str | None
) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    if chosen is not None:
        monkeypatch.setenv(chosen, "x")
    before = dict(os.environ)
    limit_spinning()
    added = {name: value for name, value in os.environ.items() if name not in before}
    assert list(added) == ([] if chosen else ["GOMP_SPINCOUNT"])
    assert chosen is None or os.environ[chosen] == "x"
    for name in added:
        monkeypatch.delenv(name)


def test_the_command_line_sets_it_before_torch_is_imported() -> None:
    code = (
        "import os, sys; sys.argv = ['run.py', '--version']\n"
        "import ibc_pyg.cli as cli\n"
        "try: cli.main()\n"
        "except SystemExit: pass\n"
        "assert 'torch' not in sys.modules\n"
        "print(os.environ['GOMP_SPINCOUNT'])"
    )
    environment = {k: v for k, v in os.environ.items() if k not in VARIABLES}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        cwd=Path(__file__).resolve().parents[3],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split()[-1] == "1000"
