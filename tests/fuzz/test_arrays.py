"""Embeddings, weights and caches."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from ibc_pyg.data.glyphs.table import load, save
from ibc_pyg.data.images.cache import open_cache
from ibc_pyg.data.images.cache_index import StaleCacheError, load_index
from ibc_pyg.data.npz import NpzError
from ibc_pyg.data.table import ImageTable, Role
from ibc_pyg.errors import UserError
from ibc_pyg.inference.embeddings_file import read_embeddings
from ibc_pyg.nn.weights import read_backbone_weights, read_weights
from tests.helpers.fuzz import fuzz_file

STATE = {"a.weight": torch.arange(12.0).view(3, 4), "a.bias": torch.zeros(3), "n": torch.tensor(3)}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "set").mkdir()
    return tmp_path / "set"


@pytest.mark.parametrize("packed", [False, True])
def test_embeddings(folder, packed):
    rng = np.random.default_rng(0)
    arrays = {
        "embeddings": rng.normal(size=(6, 3)).astype(np.float32),
        "labels": np.array(["a", "b", "c"] * 2),
        "gallery": rng.normal(size=(6, 3)),
        "gallery_labels": np.array(["a", "b", "c"] * 2),
    }
    file = folder / "e.npz"
    (np.savez_compressed if packed else np.savez)(file, **arrays)
    fuzz_file(read_embeddings, file, examples=200)


def test_weights(folder):
    save_file(STATE, folder / "model.safetensors")
    fuzz_file(read_weights, folder / "model.safetensors", examples=200)


@pytest.mark.parametrize("legacy", [False, True])
def test_torch_weights(folder, legacy):
    file = folder / "weights.pth"
    torch.save({"state_dict": STATE}, file, _use_new_zipfile_serialization=not legacy)
    fuzz_file(read_backbone_weights, file, examples=150)


def test_glyphs_cache(folder):
    table = ImageTable(
        "glyphs",
        ("a/1", "a/2", "b/1", "b/2"),
        np.array([0, 0, 1, 1]),
        np.array([Role.TRAIN.value] * 2 + [Role.TEST.value] * 2, np.uint8),
        ("a", "b"),
        images=np.zeros((4, 28, 28, 1), np.uint8),
    )
    save(table, folder / "glyphs.npz")
    allowed = (UserError, NpzError, OSError, ValueError, KeyError)
    fuzz_file(load, folder / "glyphs.npz", examples=100, allowed=allowed)


@pytest.mark.parametrize("name", ["index.npz", "meta.json"])
def test_image_cache(tmp_path, name):
    for i in range(3):
        Image.new("RGB", (9, 7 + i), (i, 0, 0)).save(tmp_path / f"{i}.png")
    table = ImageTable(
        "folder",
        tuple(f"{i}.png" for i in range(3)),
        np.array([0, 0, 1]),
        np.array([Role.TRAIN.value] * 3, np.uint8),
        ("a", "b"),
        tmp_path,
    )
    cache = open_cache(table, 8, tmp_path / "cache")
    place = tmp_path / "copy"
    shutil.copytree(cache.place, place)
    key = read_key(place)
    fuzz_file(
        lambda path: load_index(path.parent, key),
        place / name,
        examples=100,
        allowed=(StaleCacheError,),
    )


def read_key(place: Path) -> str:
    import json

    key: str = json.loads((place / "meta.json").read_text())["key"]
    return key
