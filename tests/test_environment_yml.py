"""The conda environment names what pyproject.toml names, with the same lower bounds."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).resolve().parents[1]
CONDA_NAMES = {
    "torch": "pytorch-gpu",
    "torch-geometric": "pytorch_geometric",
    "torch-scatter": "pytorch_scatter",
    "matplotlib": "matplotlib-base",
    "docstring-parser": "docstring_parser",
}
# Bounds that concern pip's wheels only: conda-forge builds faiss for every architecture itself.
CONDA_BOUNDS = {"faiss-gpu": ">=1.9"}
FROM_PIP = ("lightning-fabric",)
PACKAGES = ("pytorch-gpu", "torchvision", "pytorch_geometric", "pytorch_scatter", "faiss-gpu",
             "wandb", "scikit-learn")  # fmt: skip


@pytest.fixture(scope="module")
def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def conda():
    """Name to lower bound of every conda package, and the list of pip arguments."""
    document = yaml.safe_load((ROOT / "environment.yml").read_text())
    packages, pip = {}, []
    for entry in document["dependencies"]:
        if isinstance(entry, dict):
            pip = entry["pip"]
        else:
            name, _, bounds = entry.partition(">=")
            assert re.fullmatch(r"[a-z0-9_-]+", name), entry
            packages[name] = bounds
    return packages, pip


def test_every_dependency_is_there_with_its_bound(project, conda):
    packages, pip = conda
    extras = project["optional-dependencies"]
    for text in [*project["dependencies"], *extras["gpu"], *extras["scatter"]]:
        requirement = Requirement(text)
        if requirement.name in FROM_PIP:
            assert text in pip
            continue
        name = CONDA_NAMES.get(requirement.name, requirement.name)
        # Where conda's package is outside our range, pip would install its own beside it.
        wanted = CONDA_BOUNDS.get(name, requirement.specifier)
        assert SpecifierSet(f">={packages.get(name, '')}") == wanted, name


def test_the_packages_of_the_method_are_installed(conda):
    assert conda[0].keys() >= set(PACKAGES)


def test_the_package_itself_is_installed_and_python_fits(project, conda):
    packages, pip = conda
    assert pip[-1] == "-e ."
    assert packages["python"] == project["requires-python"].removeprefix(">=")


def test_channel_and_name():
    document = yaml.safe_load((ROOT / "environment.yml").read_text())
    assert document["name"] == "ibc_pyg"
    assert document["channels"][0] == "conda-forge"


def test_the_wheel_that_does_not_load_torchvision_is_never_chosen(project):
    torch = next(Requirement(text) for text in project["dependencies"] if text.startswith("torch>"))
    assert "2.13.0" not in torch.specifier
    assert {"2.11.0", "2.14.1", "2.15.0"} == {
        version
        for version in ("2.11.0", "2.13.0", "2.14.1", "2.15.0")
        if version in torch.specifier
    }
    assert "2.13.0+cpu" not in torch.specifier


def test_cpu_and_gpu_name_different_wheels_of_faiss(project):
    extras = project["optional-dependencies"]
    assert any(text.startswith("faiss-cpu") for text in extras["cpu"])
    assert any(text.startswith("faiss-gpu") for text in extras["gpu"])


def test_constraints_are_versions_of_packages_without_the_installer():
    text = (ROOT / "constraints.txt").read_bytes().decode("ascii")
    lines = [line for line in text.split("\n") if line and not line.startswith("#")]
    requirements = [Requirement(line) for line in lines]
    assert all(re.fullmatch(r"[\w.-]+==[\w.+]+", line) for line in lines)
    assert not {"pip", "setuptools"} & {requirement.name for requirement in requirements}


def test_citation_and_version():
    import ibc_pyg

    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert citation["version"] == project["version"] == ibc_pyg.__version__
    assert citation["preferred-citation"]["year"] == 2021


@pytest.mark.parametrize("version", [12, 13])
def test_the_files_of_one_cuda_version_add_its_pin_alone(version):
    common = (ROOT / "environment.yml").read_text().splitlines()
    lines = (ROOT / f"environment-cuda{version}.yml").read_text().splitlines()
    added = [line for line in lines if line not in common and not line.startswith("#")]
    assert added == [f"  - cuda-version={version}.*"]
    assert [line for line in lines if line in common] == common[1:]
