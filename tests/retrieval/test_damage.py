"""Damaged, foreign and read-only files: one sentence, and nothing is lost."""

import shutil
import sqlite3
import subprocess

import numpy as np
import pytest

import ibc_pyg
from ibc_pyg.errors import RunError, UserError
from ibc_pyg.retrieval.update.report import SyncReport
from tests.chaos.test_disk import mounted, read_only, small_disk
from tests.helpers.index_pictures import CountingModel, content, save_picture, save_pictures

VECTOR = np.eye(16, dtype=np.float32)[0]


@pytest.fixture(scope="module")
def model():
    return CountingModel().embedder


@pytest.fixture(scope="module")
def built(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("built")
    save_pictures(folder / "photos", 30)
    ibc_pyg.Index.build(model, folder / "photos", folder / "index").close()
    return folder


@pytest.fixture
def path(built, tmp_path):
    return shutil.copytree(built / "index", tmp_path / "index")


def said(path, model, work):
    """Return the result of some work on an index as text, or the error for the user."""
    try:
        with ibc_pyg.Index.open(path, model) as index:
            return str(work(index) or "")
    except UserError as error:
        return str(error)


def fails_to_search(path):
    with pytest.raises(RunError) as caught, ibc_pyg.Index.open(path) as index:
        index.search(VECTOR, k=30)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_truncated_vectors(path, model):
    (file,) = path.glob("*.f32")
    with file.open("r+b") as opened:
        opened.truncate(16 * 4 * 20 + 7)
    message = fails_to_search(path)
    assert f"{file} is damaged: it has 20 of 30 vectors" in message
    with ibc_pyg.Index.open(path, model) as index, pytest.raises(RunError, match="20 of 30"):
        index.sync()
    assert file.stat().st_size == 16 * 4 * 20 + 7


def test_missing_vectors(path, model):
    (file,) = path.glob("*.f32")
    file.unlink()
    assert f"{file} is missing; restore it" in fails_to_search(path)
    with ibc_pyg.Index.open(path, model) as index, pytest.raises(RunError, match="is missing"):
        index.sync()
    assert not file.exists()


def test_rows_behind_the_committed_ones_are_ignored_and_cut_off(path, model):
    (file,) = path.glob("*.f32")
    whole = file.read_bytes()
    file.write_bytes(whole + b"\xff" * 1000)
    with ibc_pyg.Index.open(path, model) as index:
        assert index.vectors.tobytes() == whole
        assert index.verify() == []
        index.sync()
        assert file.read_bytes() == whole


def test_flipped_bits_are_found(path):
    (file,) = path.glob("*.f32")
    data = bytearray(file.read_bytes())
    data[16 * 4 * 3 + 2] ^= 1
    file.write_bytes(data)
    with ibc_pyg.Index.open(path) as index:
        assert index.verify() == ["vector 3 differs from its checksum"]


@pytest.mark.parametrize("keep", [0, 50, 100, 5000])
def test_truncated_catalogue(path, keep):
    file = path / "catalogue.sqlite"
    file.write_bytes(file.read_bytes()[:keep])
    assert "catalogue.sqlite" in fails_to_search(path)


def test_garbage_instead_of_a_catalogue(path):
    rng = np.random.default_rng(0)
    (path / "catalogue.sqlite").write_bytes(rng.bytes(20_000))
    assert "catalogue.sqlite is damaged (file is not a database)" in fails_to_search(path)


@pytest.mark.parametrize("seed", range(12))
def test_garbage_in_a_catalogue(path, model, seed):
    """Either it is noticed, or the answer is one of hits."""
    file, rng = path / "catalogue.sqlite", np.random.default_rng(seed)
    data = bytearray(file.read_bytes())
    for start in rng.integers(0, len(data) - 64, 6):
        data[start : start + 64] = rng.bytes(64)
    file.write_bytes(data)
    for work in (
        lambda index: index.search(VECTOR, k=30, where={"label": "apple"}),
        lambda index: index.sync(),
        lambda index: (index.catalogue, index.skipped, index.verify()),
        lambda index: index.remove(label="apple"),
        lambda index: index.compact(),
    ):
        assert "\n" not in said(path, model, work)


def test_a_strangers_database(path):
    file = path / "catalogue.sqlite"
    file.unlink()
    sqlite3.connect(file).execute("CREATE TABLE meta(key, value)").connection.close()
    assert fails_to_search(path) == f"{file} is not the catalogue of an index"


@pytest.mark.parametrize(
    "change",
    [
        "CREATE TRIGGER t AFTER INSERT ON names BEGIN DELETE FROM names; END",
        "CREATE VIEW v AS SELECT * FROM names",
        "ALTER TABLE names ADD COLUMN more",
        "DROP TABLE skipped",
    ],
)
def test_a_catalogue_with_other_tables(path, change):
    with sqlite3.connect(path / "catalogue.sqlite") as sql:
        sql.execute(change)
    sql.close()
    assert "has other tables than the catalogue of an index" in fails_to_search(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("PRAGMA user_version = 9", "has format 9, which is newer than 1; update ibc_pyg"),
        ("UPDATE meta SET value = '{}' WHERE key = 'model'", "its model cannot be read"),
        ("UPDATE meta SET value = x'00' WHERE key = 'rows'", "the catalogue of the index is dam"),
        ("DELETE FROM meta WHERE key = 'generation'", "the catalogue of the index is damaged"),
        ("UPDATE meta SET value = 40 WHERE key = 'rows'", "it has 30 of 40 vectors"),
        ("DELETE FROM contents WHERE row = 7", None),
        ("UPDATE contents SET sha256 = 'text' || row", None),
        ("DELETE FROM names", None),
        ("UPDATE names SET root = 5", None),
        ("UPDATE names SET label = x'ff'", None),
        ("UPDATE names SET path = 7 WHERE row = 7", None),
    ],
)
def test_wrong_values_in_a_catalogue(path, model, built, change, message):
    with sqlite3.connect(path / "catalogue.sqlite") as sql:
        sql.execute(change)
    sql.close()
    if message is not None:
        assert message in fails_to_search(path)
        return
    picture = next((built / "photos").rglob("*.png"))
    assert "damaged" in said(path, model, lambda index: index.search(picture, k=30))
    assert said(path, model, lambda index: index.verify()) not in ("", "[]")


def test_a_folder_that_is_no_index(tmp_path, model, built):
    for path in (tmp_path, tmp_path / "none"):
        with pytest.raises(RunError, match="is not an index: it has no catalogue"):
            ibc_pyg.Index.open(path)
    (tmp_path / "notes.txt").touch()
    with pytest.raises(RunError, match=r"is not empty: it holds notes\.txt"):
        ibc_pyg.Index.build(model, built / "photos", tmp_path)
    with pytest.raises(RunError, match="is a file"):
        ibc_pyg.Index.build(model, built / "photos", tmp_path / "notes.txt")
    assert [each.name for each in tmp_path.iterdir()] == ["notes.txt"]


def test_a_finished_index_is_not_built_again(path, model, built):
    with pytest.raises(RunError, match=r"bring it up to date: .* index sync"):
        ibc_pyg.Index.build(model, built / "photos", path)


def test_a_closed_index(path):
    index = ibc_pyg.Index.open(path)
    index.close()
    with pytest.raises(ValueError, match="is closed"):
        index.search(VECTOR)


def test_links_are_not_written_through(path, model, tmp_path):
    (file,) = path.glob("*.f32")
    target = file.rename(tmp_path / "target")
    file.symlink_to(target)
    before = target.read_bytes()
    with ibc_pyg.Index.open(path, model) as index, pytest.raises(RunError, match="is a link"):
        index.sync()
    assert target.read_bytes() == before


def test_a_read_only_folder_is_searched_and_not_changed(path, model, built):
    with read_only(path), ibc_pyg.Index.open(path, model) as index:
        assert len(index.search(VECTOR, k=30)) == 30
        assert index.verify() == []
        for change in (index.sync, index.compact, lambda: index.remove(row=3)):
            with pytest.raises(RunError, match="cannot be written: Read-only file system"):
                change()
    with ibc_pyg.Index.open(path, model) as index:
        assert index.sync() == SyncReport(unchanged=30)


def test_a_reader_that_may_not_write_beside_one_who_writes(path, model, tmp_path):
    """As of another user: the same folder, seen without the right to write."""
    view = tmp_path / "view"
    view.mkdir()
    mounted("--bind", path, view)
    try:
        mounted("-o", "remount,bind,ro", view)
        with ibc_pyg.Index.open(view, model) as reader:
            assert len(reader.search(VECTOR, k=50)) == 30
            with ibc_pyg.Index.open(path, model) as writer:
                assert len(reader.search(VECTOR, k=50)) == 30
                writer.remove(row=range(5))
                assert len(reader.search(VECTOR, k=50)) == 25
                writer.compact()
                assert len(reader.search(VECTOR, k=50)) == 25
                assert reader.verify() == []
            assert len(reader.search(VECTOR, k=50)) == 25
            with ibc_pyg.Index.open(path, model) as writer:
                writer.remove(row=0)
            assert len(reader.search(VECTOR, k=50)) == 24
    finally:
        subprocess.run(["umount", "-l", str(view)], check=True)


def test_a_read_only_place_for_a_new_index(model, built, tmp_path):
    with (
        read_only(tmp_path),
        pytest.raises(RunError, match="cannot be written: Read-only file system"),
    ):
        ibc_pyg.Index.build(model, built / "photos", tmp_path / "index")


def fill_up(disk, left):
    free = shutil.disk_usage(disk).free
    (disk / "ballast").write_bytes(bytes(max(0, free - left)))


@pytest.mark.parametrize("left", [0, 30_000, 60_000, 90_000])
def test_a_full_disk_leaves_the_index_as_it_was(model, tmp_path, left):
    photos = tmp_path / "photos"
    save_pictures(photos, 20)
    with small_disk(tmp_path / "disk") as disk:
        path = disk / "index"
        ibc_pyg.Index.build(model, photos, path).close()
        with ibc_pyg.Index.open(path, model) as index:
            before = content(index)
            # More than a catalogue of one page each, so that some stage does not fit.
            save_pictures(photos, 400, first_seed=5000)
            fill_up(disk, left)
            with pytest.raises(RunError) as caught:
                index.sync()
            assert "No space left" in str(caught.value) or "full" in str(caught.value)
            assert content(index)["vectors"][: len(before["vectors"])] == before["vectors"]
            assert index.verify() == []
            (disk / "ballast").unlink()
            index.sync()
            assert index.verify() == []
            assert len(index) == 400
            size = shutil.disk_usage(disk).used
            index.remove(photos / "apple")
            fill_up(disk, 0)
            with pytest.raises(RunError):
                index.compact()
            assert index.verify() == []
            assert len(list(path.glob("*.f32"))) == 1
            (disk / "ballast").unlink()
            index.compact()
            assert index.verify() == []
            assert shutil.disk_usage(disk).used <= size


def test_a_full_disk_at_the_start_of_a_build(model, tmp_path):
    save_picture(tmp_path / "photos" / "a.png", 0)
    with small_disk(tmp_path / "disk") as disk:
        fill_up(disk, 0)
        with pytest.raises(RunError):
            ibc_pyg.Index.build(model, tmp_path / "photos", disk / "index")
        (disk / "ballast").unlink()
        with ibc_pyg.Index.build(model, tmp_path / "photos", disk / "index") as index:
            assert index.verify() == []
