"""Settings that hold for every test."""

import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("WANDB_MODE", "disabled")

import pytest
import torch

torch.set_num_threads(1)

DEFAULT_SHARED = Path(__file__).resolve().parents[2] / "shared"


def pytest_configure(config: pytest.Config) -> None:
    """Hide GPUs, except from the tests that need one: a test's result must not depend on them."""
    if "gpu" not in config.getoption("markexpr"):
        os.environ["CUDA_VISIBLE_DEVICES"] = ""


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of reference data: `IBC_PYG_SHARED`, by default `../shared`; skip without it."""
    folder = Path(os.environ.get("IBC_PYG_SHARED", DEFAULT_SHARED)).resolve()
    if not folder.is_dir():
        pytest.skip(f"no reference data in {folder}; set IBC_PYG_SHARED to its folder")
    return folder
