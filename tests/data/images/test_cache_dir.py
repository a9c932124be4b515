"""Where the cache is, by the environment."""

from __future__ import annotations

import os
import stat
from collections import namedtuple
from pathlib import Path

import pytest

from ibc_pyg.data.images.cache_dir import check_private, default_cache_dir, make_private
from ibc_pyg.errors import DatasetError


def test_cache_folder_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IBC_PYG_CACHE", "/a")
    monkeypatch.setenv("XDG_CACHE_HOME", "/b")
    assert default_cache_dir() == Path("/a")
    monkeypatch.delenv("IBC_PYG_CACHE")
    assert default_cache_dir() == Path("/b/ibc_pyg")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/c")
    assert default_cache_dir() == Path("/c/.cache/ibc_pyg")


def test_a_new_folder_is_private(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        make_private(tmp_path / "a" / "cache")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a" / "cache").stat().st_mode) == 0o700


@pytest.mark.parametrize(
    ("mode", "group", "fine"),
    [(0o755, 9, True), (0o775, 9, False), (0o775, 5, True), (0o757, 5, False), (0o1777, 9, True)],
)
def test_who_may_write(tmp_path, monkeypatch, mode, group, fine):
    status = namedtuple("status", "st_mode st_uid st_gid")(stat.S_IFDIR | mode, 5, group)
    monkeypatch.setattr(os, "geteuid", lambda: 5)
    monkeypatch.setattr(type(tmp_path), "stat", lambda path: status)
    if fine:
        check_private(tmp_path)
    else:
        with pytest.raises(DatasetError, match="other users can write"):
            check_private(tmp_path)


def test_a_folder_of_another_user_is_not_used(tmp_path, monkeypatch):
    real = tmp_path.stat()
    status = namedtuple("status", "st_mode st_uid st_gid")(real.st_mode, 5, 5)
    monkeypatch.setattr(os, "geteuid", lambda: 6)
    monkeypatch.setattr(type(tmp_path), "stat", lambda path: status)
    with pytest.raises(DatasetError, match="another user; choose another with IBC_PYG_CACHE"):
        check_private(tmp_path)
