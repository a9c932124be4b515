"""Glyphs: what is drawn, that it is the same each time, and what a bad cache does."""

from __future__ import annotations

import logging
import unicodedata
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

from ibc_pyg.data.glyphs.fonts import (
    MAX_INK,
    SIDE,
    DrawnGlyphs,
    draw_glyphs,
    font_files,
    is_drawable,
    merge_twins,
)
from ibc_pyg.data.glyphs.table import build, glyphs_table, raw_pixels
from ibc_pyg.data.table import ImageTable, Role
from ibc_pyg.errors import DatasetError


@pytest.fixture(scope="module")
def table() -> ImageTable:
    return build(0)


@pytest.fixture(scope="module")
def drawn() -> DrawnGlyphs:
    return draw_glyphs()


def classes_of(table: ImageTable, role: Role) -> set[int]:
    return set(table.labels[table.where(role)].tolist())


def recall_at_1(embeddings: np.ndarray, labels: np.ndarray) -> float:
    similar = embeddings @ embeddings.T
    np.fill_diagonal(similar, -1)
    return float((labels[similar.argmax(1)] == labels).mean())


def test_size_and_shape(table: ImageTable) -> None:
    # Other versions of matplotlib ship slightly other fonts: bounds, not counts.
    assert table.images is not None
    assert table.images.dtype == np.uint8
    assert table.images.shape == (len(table), SIDE, SIDE, 1)
    assert 20_000 < len(table) < 45_000
    assert 2_000 < len(table.class_names) < 3_500
    assert set(table.labels.tolist()) == set(range(len(table.class_names)))
    assert np.bincount(table.labels).min() >= 4
    assert np.bincount(table.labels).max() <= 17


def test_train_and_test_characters_are_disjoint_halves(table: ImageTable) -> None:
    train, test = classes_of(table, Role.TRAIN), classes_of(table, Role.TEST)
    assert not train & test
    assert abs(len(train) - len(test)) <= 1
    assert train | test == set(range(len(table.class_names)))
    assert set(table.roles.tolist()) == {Role.TRAIN.value, Role.TEST.value}


def test_names_tell_code_point_character_and_face(table: ImageTable) -> None:
    assert "U+0416 Ж" in table.class_names
    label = table.class_names.index("U+0416 Ж")
    paths = [table.paths[row] for row in np.flatnonzero(table.labels == label)]
    assert "U+0416/DejaVuSerif-Bold" in paths
    assert len(set(table.paths)) == len(table)
    faces = {path.split("/")[1] for path in table.paths}
    assert faces <= {file.stem for file in font_files()}
    for name in table.class_names:
        code, _, shown = name.partition(" ")
        assert ord(shown[-1]) == int(code[2:], 16)


def test_no_placeholder_faces() -> None:
    stems = [file.stem for file in font_files()]
    assert "DejaVuSans" in stems
    assert "STIXGeneral" in stems
    assert not [s for s in stems if s.startswith("cm") or "LastResort" in s or "Display" in s]


def test_no_invisible_characters(table: ImageTable) -> None:
    assert table.images is not None
    assert table.images.reshape(len(table), -1).any(1).all()
    for name in table.class_names:
        assert unicodedata.category(chr(int(name.split()[0][2:], 16)))[0] not in "CZ"
    assert not is_drawable(0x20)
    assert not is_drawable(0xE000)
    assert is_drawable(0x301)


def test_twins_are_one_class(table: ImageTable) -> None:
    # Latin A, Greek Alpha and Cyrillic A share their outlines in DejaVu.
    assert "U+0041 A" in table.class_names
    assert "U+0391 Α" not in table.class_names  # noqa: RUF001
    assert "U+0410 А" not in table.class_names  # noqa: RUF001


def test_no_picture_occurs_twice(drawn: DrawnGlyphs) -> None:
    pictures = {image.tobytes() for image in drawn.images}
    assert len(pictures) == len(drawn.images)


def test_ink_is_centred_and_fits(drawn: DrawnGlyphs) -> None:
    for image in drawn.images[::97]:
        rows, columns = np.flatnonzero(image.any(1)), np.flatnonzero(image.any(0))
        for ink in (rows, columns):
            assert ink[-1] - ink[0] < MAX_INK
            assert abs((ink[0] + ink[-1]) / 2 - (SIDE - 1) / 2) <= 0.5


def test_merge_twins_is_transitive() -> None:
    drawn = {
        5: {"a": b"x", "b": b"y"},
        3: {"a": b"z", "b": b"y"},
        9: {"b": b"z"},
        1: {"a": b"w"},
    }
    assert merge_twins(drawn) == {5: 3, 3: 3, 9: 3, 1: 1}


def test_same_bytes_each_time_and_from_the_cache(table: ImageTable, tmp_path: Path) -> None:
    drawn = glyphs_table(cache_dir=tmp_path)
    assert len(list(tmp_path.iterdir())) == 1
    cached = glyphs_table(cache_dir=tmp_path)
    for other in (drawn, cached):
        assert other.images is not None
        assert table.images is not None
        assert other.images.tobytes() == table.images.tobytes()
        assert other.labels.tobytes() == table.labels.tobytes()
        assert other.roles.tobytes() == table.roles.tobytes()
        assert (other.paths, other.class_names) == (table.paths, table.class_names)


def test_seed_changes_the_split_and_the_noise_alone(table: ImageTable) -> None:
    other = build(1)
    assert other.class_names == table.class_names
    assert classes_of(other, Role.TEST) != classes_of(table, Role.TEST)
    both = np.intersect1d(other.where(Role.TRAIN), table.where(Role.TRAIN))
    assert len(both)
    assert other.images is not None
    assert table.images is not None
    np.testing.assert_array_equal(other.images[both], table.images[both])
    both = np.intersect1d(other.where(Role.TEST), table.where(Role.TEST))
    assert (other.images[both] != table.images[both]).any(axis=(1, 2, 3)).all()


def test_raw_pixels_fail_on_the_test_characters(table: ImageTable) -> None:
    rows = table.where(Role.TEST)
    pixels = raw_pixels(table, rows)
    assert pixels.dtype == np.float32
    assert pixels.shape == (len(rows), SIDE * SIDE)
    np.testing.assert_allclose(np.linalg.norm(pixels, axis=1), 1, atol=1e-5)
    # 23.5 % with the fonts of matplotlib 3.11; a class is 1 in 1,337, so chance is under 0.1 %.
    assert 0.15 < recall_at_1(pixels, table.labels[rows]) < 0.30


def test_raw_pixels_of_black_images_and_of_files(table: ImageTable) -> None:
    assert table.images is not None
    black = table.take(np.arange(2))
    black.images[:] = 0  # type: ignore[index]
    assert not raw_pixels(black, np.arange(2)).any()
    files = ImageTable("x", ("a",), np.zeros(1, np.int64), np.ones(1, np.uint8), ("c",))
    with pytest.raises(ValueError, match="needs images in memory"):
        raw_pixels(files, np.arange(1))


def small_table() -> ImageTable:
    return ImageTable(
        "glyphs",
        ("U+0041/A",),
        np.zeros(1, np.int64),
        np.ones(1, np.uint8),
        ("U+0041 A",),
        images=np.full((1, SIDE, SIDE, 1), 7, np.uint8),
    )


@pytest.mark.parametrize("damage", ["cut", "empty", "text", "npy", "pickle", "other columns"])
def test_damaged_cache_is_drawn_again(
    damage: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("ibc_pyg.data.glyphs.table.build", lambda seed: small_table())
    glyphs_table(cache_dir=tmp_path)
    (file,) = tmp_path.iterdir()
    whole = file.read_bytes()
    if damage == "npy":
        with file.open("wb") as stream:
            np.save(stream, np.zeros(3))
    elif damage == "pickle":
        columns = {k: np.array([{}], object) for k in ("paths", "labels", "roles", "name")}
        with file.open("wb") as stream:
            np.savez(stream, **columns)  # type: ignore[arg-type]
    elif damage == "other columns":
        with file.open("wb") as stream:
            np.savez(stream, images=np.zeros(3))
    else:
        file.write_bytes({"cut": whole[: len(whole) // 2], "empty": b"", "text": b"no"}[damage])
    with caplog.at_level(logging.WARNING):
        again = glyphs_table(cache_dir=tmp_path)
    assert "drawing the characters again" in caplog.text
    assert again.paths == ("U+0041/A",)
    assert file.read_bytes() == whole
    assert len(list(tmp_path.iterdir())) == 1


def test_cache_that_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("ibc_pyg.data.glyphs.table.build", lambda seed: small_table())
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    with caplog.at_level(logging.WARNING):
        assert len(glyphs_table(cache_dir=blocked / "cache")) == 1
    assert "continuing without a cache" in caplog.text


def test_missing_fonts_and_bad_seed(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="reinstall matplotlib"):
        font_files(tmp_path)
    with pytest.raises(DatasetError, match="seed: -1 is negative"):
        glyphs_table(seed=-1, cache_dir=tmp_path)


def test_faces_of_a_class_differ(drawn: DrawnGlyphs) -> None:
    faces: dict[int, list[str]] = defaultdict(list)
    for label, face in zip(drawn.labels.tolist(), drawn.faces, strict=True):
        faces[label].append(face)
    assert all(len(set(names)) == len(names) for names in faces.values())
