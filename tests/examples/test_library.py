"""The scripts of examples/library train something in seconds."""

import importlib
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "examples" / "library"
SCRIPTS = sorted(file.stem for file in FOLDER.glob("*.py") if file.stem != "digits")


@pytest.fixture
def script(monkeypatch):
    """Return a function that imports a script; the module is forgotten afterwards."""
    monkeypatch.syspath_prepend(str(FOLDER))
    before = set(sys.modules)
    yield importlib.import_module
    for name in {*SCRIPTS, "digits"} - before:
        sys.modules.pop(name, None)


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_trains(name, script):
    # Untrained: R@1 below 0.5, and accuracy on graphs 0.5.
    assert script(name).main() > 0.55


def test_fabric_and_trainer_train_the_same(script):
    pytest.importorskip("lightning")
    main = script("lightning_trainer").main
    assert main(trainer=True) == pytest.approx(main(trainer=False), abs=1e-6)
