"""Where the cache is, by the environment."""

from __future__ import annotations

from pathlib import Path

import pytest

from ibc_pyg.data.images.cache_dir import default_cache_dir


def test_cache_folder_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IBC_PYG_CACHE", "/a")
    monkeypatch.setenv("XDG_CACHE_HOME", "/b")
    assert default_cache_dir() == Path("/a")
    monkeypatch.delenv("IBC_PYG_CACHE")
    assert default_cache_dir() == Path("/b/ibc_pyg")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/c")
    assert default_cache_dir() == Path("/c/.cache/ibc_pyg")
