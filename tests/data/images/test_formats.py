"""Formats that depend on how Pillow was built and on packages beside it."""

import importlib
import sys
import types

import pytest
from PIL import Image, features

from ibc_pyg.data.images import formats


def test_avif_counts_as_an_image_where_pillow_decodes_it():
    assert (".avif" in formats.SUFFIXES) == bool(features.check("avif"))


@pytest.fixture
def heif(monkeypatch):
    """A stand-in for pillow-heif that registers the format as the package does."""
    module = types.ModuleType("pillow_heif")
    module.register_heif_opener = lambda: Image.register_open("HEIF", object)
    opened = dict(Image.OPEN), list(Image.ID)
    monkeypatch.setitem(sys.modules, "pillow_heif", module)
    yield importlib.reload(formats)
    monkeypatch.undo()
    Image.OPEN.clear()
    Image.OPEN.update(opened[0])
    Image.ID[:] = opened[1]
    importlib.reload(formats)


def test_heif_is_read_with_its_package(heif):
    assert "HEIF" in heif.FORMATS
    assert {".heic", ".heif"} <= heif.SUFFIXES


def test_heif_is_not_read_without_its_package():
    if importlib.util.find_spec("pillow_heif"):
        pytest.skip("pillow-heif is installed")
    assert not formats.SUFFIXES & formats.HEIF_SUFFIXES
