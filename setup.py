"""What pyproject.toml cannot say: experiments/ is the package data `ibc_pyg.experiments`."""

from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).resolve().parent
FOLDERS = sorted(
    {
        path.parent.relative_to(ROOT)
        for path in ROOT.glob("experiments/**/*.yaml")
        if "results" not in path.parts
    }
)
EXPERIMENTS = {f"ibc_pyg.{'.'.join(folder.parts)}": folder.as_posix() for folder in FOLDERS}

setup(
    packages=[*find_packages(include=["ibc_pyg*"]), *EXPERIMENTS],
    package_dir=EXPERIMENTS,
)
