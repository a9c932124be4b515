"""What is released: files of the wheel, lower bounds, scripts, and advice of an installed copy."""

import fnmatch
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from ibc_pyg.errors import program

ROOT = Path(__file__).resolve().parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]


def test_every_file_of_the_package_is_code_or_package_data():
    patterns = PYPROJECT["tool"]["setuptools"]["package-data"]
    assert PYPROJECT["tool"]["setuptools"]["include-package-data"] is False
    for path in (ROOT / "ibc_pyg").rglob("*"):
        if path.is_dir() or path.suffix in (".py", ".pyc"):
            continue
        # Patterns are relative to the innermost package.
        package = next(each for each in path.parents if (each / "__init__.py").is_file())
        inner = path.relative_to(package).as_posix()
        wanted = [*patterns["*"], *patterns.get(".".join(package.relative_to(ROOT).parts), [])]
        assert any(fnmatch.fnmatch(inner, pattern) for pattern in wanted), path


def test_setup_maps_every_folder_of_experiments(monkeypatch):
    import setuptools

    given = {}
    monkeypatch.setattr(setuptools, "setup", given.update)
    monkeypatch.chdir(ROOT)
    exec(
        compile((ROOT / "setup.py").read_text(), ROOT / "setup.py", "exec"),
        {"__file__": "setup.py"},
    )
    folders = {path.parent for path in ROOT.glob("experiments/**/*.yaml")}
    wanted = {path.relative_to(ROOT).as_posix() for path in folders if "results" not in path.parts}
    assert set(given["package_dir"].values()) == wanted
    assert {"ibc_pyg", "ibc_pyg.nn.conv", "ibc_pyg.experiments.paper"} <= set(given["packages"])
    assert not [name for name in given["packages"] if name.startswith(("tests", "docs"))]


def test_minimum_versions_are_the_lower_bounds():
    script = ROOT / ".ci" / "minimum_versions.py"
    done = subprocess.run(
        [sys.executable, str(script), "cpu", "test"], capture_output=True, text=True, check=True
    )
    pins = {pin.name: pin for pin in map(Requirement, done.stdout.splitlines())}
    assert pins.keys() >= {Requirement(text).name for text in PROJECT["dependencies"]}
    for text in PROJECT["dependencies"]:
        wanted = Requirement(text)
        (pinned,) = pins[wanted.name].specifier
        assert pinned.version in wanted.specifier
        assert f">={pinned.version}" in str(wanted.specifier)


def test_every_extra_is_in_the_release_check():
    checked = re.search(r'^extras="(.*)"$', (ROOT / ".ci/release_check.sh").read_text(), re.M)
    # These need a GPU, a compiler or a checkout.
    left_out = {"gpu", "scatter", "test", "dev", "audit", "release", "wandb"}
    assert {*checked[1].split()} | left_out == PROJECT["optional-dependencies"].keys()


def test_urls_are_those_of_paper_and_released_code():
    assert all(url.startswith("https://") for url in PROJECT["urls"].values())
    assert not any("License ::" in each for each in PROJECT["classifiers"])  # PEP 639


@pytest.mark.parametrize(
    ("started", "checkout", "words"),
    [
        ("/env/bin/ibc-pyg", True, "ibc-pyg"),
        ("run.py", True, "python run.py"),
        ("/checkout/ibc_pyg/__main__.py", True, "python run.py"),
        ("/env/lib/ibc_pyg/__main__.py", False, "ibc-pyg"),
        ("notebook", False, "ibc-pyg"),
    ],
)
def test_advice_names_the_command_as_it_was_started(started, checkout, words, monkeypatch):
    monkeypatch.setattr(sys, "argv", [started])
    monkeypatch.setattr(Path, "is_file", lambda self: checkout)
    assert program() == words
