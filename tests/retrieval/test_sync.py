"""Only new content passes through the network, and every file is accounted for."""

import os
import shutil

import numpy as np
import pytest
from PIL import Image

import ibc_pyg
from ibc_pyg.errors import DatasetError, RunError
from ibc_pyg.retrieval.update.fill import Pace
from ibc_pyg.retrieval.update.report import SyncReport
from tests.helpers.index_pictures import CountingModel, content, save_picture, save_pictures


@pytest.fixture
def model():
    return CountingModel()


@pytest.fixture
def photos(tmp_path):
    save_pictures(tmp_path / "photos", 60)
    return tmp_path / "photos"


@pytest.fixture
def index(model, photos, tmp_path):
    with ibc_pyg.Index.build(model.embedder, photos, tmp_path / "index", batch_size=8) as index:
        assert model.since() == 60
        assert index.report == SyncReport(added=60, embedded=60)
        yield index


def paths(index):
    return {entry.path for entry in index.catalogue}


def test_one_each_of_added_changed_renamed_deleted_and_copied(index, model, photos):
    save_picture(photos / "pear" / "new.png", 900)
    save_picture(photos / "apple" / "0003.png", 901)
    (photos / "apple" / "0006.png").rename(photos / "plum" / "renamed.png")
    (photos / "pear" / "0004.png").unlink()
    shutil.copy(photos / "plum" / "0005.png", photos / "apple" / "copy.png")
    report = index.sync()
    assert model.since() == 2
    assert report == SyncReport(1, 1, 1, 1, 1, unchanged=57, embedded=2)
    assert index.report is report
    assert paths(index) == {str(file) for file in photos.rglob("*.png")}
    assert index.verify() == []
    hits = index.search(photos / "plum" / "renamed.png", k=1)
    assert (hits[0].path, hits[0].label) == (str(photos / "plum" / "renamed.png"), "plum")
    hits = index.search(photos / "apple" / "copy.png", k=1)
    assert hits[0].path == str(photos / "plum" / "0005.png")
    assert hits[0].copies == (str(photos / "apple" / "copy.png"),)
    model.since()
    assert index.sync() == SyncReport(unchanged=61)
    assert model.since() == 0


def test_the_second_sync_reads_no_file(index, model, photos, monkeypatch):
    def unread(*arguments):
        raise AssertionError("a file was read")

    monkeypatch.setattr("ibc_pyg.retrieval.update.feed._read", unread)
    assert index.sync(photos) == SyncReport(unchanged=60)
    assert model.since() == 0


def test_files_with_another_time_are_read_and_not_embedded(index, model, photos):
    for file in photos.rglob("*.png"):
        os.utime(file, ns=(1, 1))
    assert index.sync() == SyncReport(unchanged=60)
    assert model.since() == 0
    assert index.sync() == SyncReport(unchanged=60)


def test_swapped_files_are_changed_and_not_embedded(index, model, photos):
    first, second = photos / "apple" / "0000.png", photos / "pear" / "0001.png"
    one, other = first.read_bytes(), second.read_bytes()
    first.write_bytes(other)
    second.write_bytes(one)
    assert index.sync() == SyncReport(changed=2, unchanged=58)
    assert model.since() == 0
    assert index.search(first, k=1)[0].path == str(first)
    assert index.verify() == []


def test_a_file_that_comes_back_is_not_embedded_again(index, model, photos):
    file = photos / "apple" / "0000.png"
    kept = file.read_bytes()
    file.unlink()
    assert index.sync() == SyncReport(gone=1, unchanged=59)
    assert len(index) == 59
    file.write_bytes(kept)
    assert index.sync() == SyncReport(added=1, unchanged=59)
    assert model.since() == 0
    assert len(index) == 60


def test_equal_new_files_are_embedded_once(index, model, photos):
    for name in ("a.png", "b.png", "c.png"):
        save_picture(photos / "new" / name, 800)
    assert index.sync() == SyncReport(added=1, copied=2, unchanged=60, embedded=1)
    assert model.since() == 1
    assert len(index) == 61
    assert len(index.search(photos / "new" / "a.png", k=1)[0].copies) == 2


def test_a_folder_that_is_renamed_changes_the_classes_only(index, model, photos):
    (photos / "apple").rename(photos / "apples")
    assert index.sync() == SyncReport(renamed=20, unchanged=40)
    assert model.since() == 0
    assert len(index.search(photos / "pear" / "0001.png", k=60, where={"label": "apples"})) == 20
    assert index.search(photos / "pear" / "0001.png", where={"label": "apple"}) == []
    model.since()


def test_broken_files_are_counted_and_tried_again_when_they_change(index, model, photos):
    broken = photos / "apple" / "broken.jpg"
    broken.write_bytes(b"no picture")
    assert index.sync() == SyncReport(unchanged=60, skipped=1)
    assert [(each.path, each.size) for each in index.skipped] == [("apple/broken.jpg", 10)]
    assert "not an image" in index.skipped[0].reason
    assert index.sync() == SyncReport(unchanged=60, skipped=1)
    save_picture(broken.with_suffix(".png"), 700).replace(broken)
    assert index.sync() == SyncReport(added=1, unchanged=60, embedded=1)
    assert index.skipped == []
    broken.write_bytes(b"")
    assert index.sync() == SyncReport(unchanged=60, skipped=1)
    assert len(index) == 60
    broken.unlink()
    assert index.sync() == SyncReport(unchanged=60)
    assert index.skipped == []
    assert index.verify() == []


def test_a_file_that_cannot_be_opened_is_tried_each_time(index, photos):
    (photos / "apple" / "nowhere.png").symlink_to(photos / "missing.png")
    for _ in range(2):
        assert index.sync() == SyncReport(unchanged=60, skipped=1)
    assert index.skipped[0].reason == "unreadable: No such file or directory"
    save_picture(photos / "missing.png", 600)
    report = index.sync()
    assert (report.added, report.copied, report.skipped) == (1, 1, 0)


def test_removed_pictures_stay_out_until_they_are_added(index, model, photos):
    assert index.remove(photos / "apple") == 20
    assert index.sync() == SyncReport(unchanged=40, removed=20)
    assert len(index) == 40
    index.compact()
    assert index.sync() == SyncReport(unchanged=40, removed=20)
    model.since()
    assert index.add(photos / "apple" / "0000.png") == SyncReport(added=1, embedded=1)
    assert model.since() == 1
    assert index.search(photos / "apple" / "0000.png", k=1)[0].label == "apple"
    shutil.rmtree(photos / "apple")
    assert index.sync() == SyncReport(gone=1, unchanged=40)
    assert index.counts()["removed"] == 0
    assert index.verify() == []


def test_pictures_are_removed_by_their_place_in_the_source_too(index, photos, monkeypatch):
    assert index.remove("apple/0000.png") == 1
    assert index.remove("apple") == 19
    with pytest.raises(RunError, match="no picture"):
        index.remove(".")
    monkeypatch.chdir(photos / "pear")
    (photos.parent / "link").symlink_to(photos / "pear")
    assert index.remove("0001.png") == 1
    assert index.remove(photos.parent / "link" / "0004.png") == 1
    assert index.remove(".") == 18
    assert {entry.label for entry in index.catalogue} == {"plum"}


def test_a_file_in_two_sources_is_named_once(index, model, photos):
    assert index.add(photos / "apple") == SyncReport(copied=20)
    assert model.since() == 0
    assert index.search(photos / "apple" / "0000.png", k=1)[0].copies == ()


def test_a_missing_or_emptied_folder_loses_nothing(index, photos, tmp_path):
    before = content(index)
    photos.rename(tmp_path / "away")
    with pytest.raises(DatasetError, match=r"photos is missing; if it was moved: .* relocate"):
        index.sync()
    photos.mkdir()
    with pytest.raises(RunError, match="has no pictures any more: is its disk there"):
        index.sync()
    assert content(index) == before
    index.remove(photos)
    assert index.sync() == SyncReport()
    assert len(index) == 0


def test_relocate_embeds_nothing(index, model, photos, tmp_path):
    moved = tmp_path / "moved"
    shutil.copytree(photos, moved)
    shutil.rmtree(photos)
    (tmp_path / "other").mkdir()
    with pytest.raises(RunError, match="has none of the pictures of"):
        index.relocate(tmp_path / "other")
    index.relocate(moved)
    assert paths(index) == {str(file) for file in moved.rglob("*.png")}
    assert index.sync().unchanged == 60
    assert model.since() == 0


def test_several_sources(index, model, photos, tmp_path):
    more = tmp_path / "more"
    save_pictures(more, 5, first_seed=300)
    shutil.copy(photos / "apple" / "0000.png", more / "same.png")
    with pytest.raises(RunError, match=r"more is not a source of .*index; add it: .* index add"):
        index.sync(more)
    assert index.add(more) == SyncReport(added=5, copied=1, embedded=5)
    assert index.add(more) == SyncReport(unchanged=6)
    save_picture(more / "late.png", 500)
    assert index.sync(photos) == SyncReport(unchanged=60)
    assert index.sync() == SyncReport(added=1, unchanged=66, embedded=1)
    assert len(index.sources) == 2
    with pytest.raises(RunError, match="say which folder was moved: --from"):
        index.relocate(more)
    more.rename(tmp_path / "elsewhere")
    index.relocate(tmp_path / "elsewhere", more)
    assert index.sync() == SyncReport(unchanged=67)


def test_single_files_have_their_class_and_are_not_looked_for_in_their_folder(
    index, model, tmp_path
):
    files = save_pictures(tmp_path / "inbox", 4, first_seed=400)
    assert index.add(files[:2], label="kiwi") == SyncReport(added=2, embedded=2)
    assert index.complete
    assert {hit.label for hit in index.search(files[:2], k=1)[1]} == {"kiwi"}
    assert index.sync() == SyncReport(unchanged=62)
    files[0].unlink()
    assert index.sync() == SyncReport(gone=1, unchanged=61)
    assert index.remove(files[1]) == 1
    assert index.sync() == SyncReport(unchanged=60)
    with pytest.raises(RunError, match=r"there is no .*nothing\.png to add"):
        index.add(tmp_path / "nothing.png")


def test_a_list_of_pictures(model, photos, tmp_path):
    lines = ["path,label,split"]
    files = sorted(photos.rglob("*.png"))
    for number, file in enumerate(files):
        split = "test" if number % 2 else "train"
        lines.append(f"{file.relative_to(photos)},class {number % 4},{split}")
    (photos / "list.csv").write_text("\n".join(lines))
    with ibc_pyg.Index.build(
        model.embedder, photos / "list.csv", tmp_path / "i", part="test"
    ) as index:
        assert model.since() == 30
        assert [entry.path for entry in index.catalogue] == [str(file) for file in files[1::2]]
        assert {entry.label for entry in index.catalogue} == {"class 1", "class 3"}
        (photos / "list.csv").write_text("\n".join(lines[:21]).replace("class 1", "one"))
        assert index.sync() == SyncReport(gone=20, unchanged=10)
        assert {entry.label for entry in index.catalogue} == {"one", "class 3"}
        index.remove(files[3])
        assert index.sync() == SyncReport(unchanged=9, removed=1)
        assert index.add(files[3]).added == 1
        assert len(index.sources) == 1
        files[1].unlink()
        report = index.sync()
        assert (report.skipped, report.unchanged) == (1, 9)


def test_a_data_set_by_name(model, photos, tmp_path):
    with ibc_pyg.Index.build(model.embedder, "folder", tmp_path / "i", root=photos) as index:
        assert len(index) == 60
        assert {entry.label for entry in index.catalogue} == {"apple", "pear", "plum"}
        assert {entry.path for entry in index.catalogue} == {str(f) for f in photos.rglob("*.png")}
        assert index.sync() == SyncReport(unchanged=60)


def test_commits_and_batches_do_not_change_the_index(model, photos, tmp_path, monkeypatch):
    (photos / "apple" / "a.png").write_bytes(b"broken")
    shutil.copy(photos / "apple" / "0000.png", photos / "apple" / "b.png")
    found = []
    for number, pace in enumerate([Pace(), Pace(1, 0), Pace(16, 1000)]):
        monkeypatch.setattr(ibc_pyg.Index, "pace", pace)
        with ibc_pyg.Index.build(
            model.embedder, photos, tmp_path / str(number), batch_size=7
        ) as index:
            found.append(content(index))
            assert index.report == SyncReport(added=60, copied=1, skipped=1, embedded=60)
    assert found[0] == found[1] == found[2]


def test_odd_names_and_files_are_indexed_or_counted(model, tmp_path):
    folder = tmp_path / "odd"
    odd = ["a b.png", "line\nbreak.png", "quote'\".png", "#?%20.png", "ünï.png", "--x.png"]
    for number, name in enumerate(odd):
        save_picture(folder / name, number)
    raw = os.fsdecode(b"\xff\xfe.png")
    save_picture(tmp_path / "plain.png", 50).rename(folder / raw)
    (folder / "loop").symlink_to(folder)
    (folder / "self.png").symlink_to(folder / "self.png")
    (folder / "folder.png").mkdir()
    os.mkfifo(folder / "pipe.png")
    (folder / "empty.png").touch()
    (folder / ".hidden.png").write_bytes(b"")
    with ibc_pyg.Index.build(model.embedder, folder, tmp_path / "index") as index:
        assert {entry.path for entry in index.catalogue} == {
            str(folder / name) for name in [*odd, raw]
        }
        assert {each.path: each.reason for each in index.skipped} == {
            "self.png": "unreadable: Too many levels of symbolic links",
            "pipe.png": "not a regular file",
            "empty.png": index.skipped[0].reason,
        }
        assert index.verify() == []
        for name in [*odd, raw]:
            assert index.search(folder / name, k=1)[0].path == str(folder / name)
        model.since()
        assert index.sync() == SyncReport(unchanged=7, skipped=3)
        assert model.since() == 0
        assert index.remove(folder / raw) == 1
        assert index.add(folder / raw).added == 1


@pytest.mark.filterwarnings("ignore:Image size:Warning")
def test_broken_and_unusual_files_are_all_accounted_for(model, tmp_path):
    folder, rng = tmp_path / "mixed", np.random.default_rng(0)
    whole = save_picture(folder / "whole.png", 0).read_bytes()
    for number in range(100):
        (folder / f"cut{number}.png").write_bytes(whole[: number % (len(whole) - 30)])
        (folder / f"noise{number}.jpg").write_bytes(rng.bytes(50))
    colours = Image.fromarray(rng.integers(0, 256, (20, 30, 3), dtype=np.uint8))
    colours.convert("CMYK").save(folder / "cmyk.jpg")
    deep = rng.integers(0, 2**16, (20, 30), dtype=np.uint16)
    Image.fromarray(deep).save(folder / "deep.png")
    frames = [colours.rotate(angle) for angle in (90, 180)]
    colours.save(folder / "animated.gif", save_all=True, append_images=frames)
    turned = Image.Exif()
    turned[0x0112] = 6
    colours.save(folder / "turned.jpg", exif=turned)
    colours.convert("RGBA").save(folder / "alpha.webp")
    Image.new("1", (10_000, 10_000)).save(folder / "large.png")
    Image.new("L", (1, 50_000)).save(folder / "narrow.png")
    with ibc_pyg.Index.build(model.embedder, folder, tmp_path / "index") as index:
        assert index.report == SyncReport(added=6, skipped=202, embedded=6)
        assert len(index.skipped) == 202
        reasons = {each.path: each.reason for each in index.skipped}
        assert "10000 x 10000 pixels, more than the allowed" in reasons["large.png"]
        assert all(reason.isprintable() and len(reason) < 200 for reason in reasons.values())
        found = np.asarray(model.embedder.embed([e.path for e in index.catalogue]))
        assert np.array_equal(found, index.vectors)
        model.since()
        assert index.sync() == SyncReport(unchanged=6, skipped=202)
        assert model.since() == 0


def test_nothing_to_index(model, tmp_path):
    (tmp_path / "photos").mkdir()
    with pytest.raises(RunError, match="photos has no pictures"):
        ibc_pyg.Index.build(model.embedder, tmp_path / "photos", tmp_path / "index")
    with pytest.raises(DatasetError, match="there is no folder or CSV file"):
        ibc_pyg.Index.build(model.embedder, tmp_path / "none", tmp_path / "index")
    assert not (tmp_path / "index").exists()


def test_only_broken_pictures(model, tmp_path):
    (tmp_path / "photos").mkdir()
    for number in range(3):
        (tmp_path / "photos" / f"{number}.png").write_bytes(b"x" * number)
    with ibc_pyg.Index.build(model.embedder, tmp_path / "photos", tmp_path / "index") as index:
        assert index.report == SyncReport(skipped=3)
        assert len(index) == 0
        assert index.vectors.shape == (0, 16)
        assert index.search(np.zeros(16)) == []
        assert index.verify() == []


def test_remove_selects_something_or_nothing_is_changed(index, photos):
    before = content(index)
    for arguments in (
        {"paths": photos / "none.png"},
        {"label": "banana"},
        {"row": 60},
        {"paths": [photos / "apple", photos / "none"]},
    ):
        with pytest.raises(RunError, match="the index has no picture"):
            index.remove(**arguments)
    assert content(index) == before
    assert index.remove([photos / "apple" / "0000.png"], label="pear", row=[0, 1]) == 22
    with pytest.raises(RunError, match="no picture"):
        index.remove(photos / "apple" / "0000.png")
