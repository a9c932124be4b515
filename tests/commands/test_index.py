"""The command `index` from the first build to the export, and `search` in an index."""

import json
import os
import shutil

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

import ibc_pyg
from ibc_pyg.cli import run
from tests.helpers.command_line import fails, works
from tests.helpers.index_pictures import FINISHED_RUN, save_picture, save_pictures


@pytest.fixture
def photos(tmp_path):
    save_pictures(tmp_path / "photos", 24)
    return tmp_path / "photos"


@pytest.fixture
def path(photos, tmp_path, capsys):
    arguments = ("build", FINISHED_RUN, photos, "--out", tmp_path / "photos.index")
    assert "24 added (24 embedded)" in works(capsys, "index", *arguments)
    return tmp_path / "photos.index"


def test_sync_refuses_another_model_even_if_nothing_is_new(path, tmp_path, capsys):
    other = tmp_path / "other"
    shutil.copytree(FINISHED_RUN, other)
    weights = load_file(other / "model.safetensors")
    name = next(each for each in weights if each.endswith("embedding.weight"))
    save_file({**weights, name: weights[name] + 1}, other / "model.safetensors")
    assert "was made by" in fails(capsys, "index", "sync", path, "--model", other)
    assert "24 unchanged" in works(capsys, "index", "sync", path, "--model", FINISHED_RUN)


def test_the_life_of_an_index(path, photos, tmp_path, capsys):
    save_picture(photos / "kiwi" / "new.png", 900)
    (photos / "pear" / "broken.png").write_bytes(b"broken")
    out = works(capsys, "index", "sync", path)
    assert "1 added, 24 unchanged, 1 skipped (1 embedded)" in out
    assert "skipped pear/broken.png: not an image in a known format (6 bytes)" in out
    assert "1/2" in out, "progress"
    out = works(capsys, "index", "sync", path, photos)
    assert "24 unchanged" not in out
    assert "25 unchanged, 1 skipped (0 embedded)" in out
    single = save_picture(tmp_path / "inbox" / "x.png", 901)
    assert "1 added (1 embedded)" in works(capsys, "index", "add", path, single, "--label", "fig")
    out = works(capsys, "index", "remove", path, photos / "kiwi", "--label", "apple")
    assert "removed 9 files; 17 pictures are left" in out
    out = works(capsys, "index", "info", path, "--skipped")
    assert "model: conv4 (16-d, 8 px" in out
    assert f"source: folder of pictures {photos}" in out
    assert f"source: single files {tmp_path / 'inbox'}" in out
    assert "17 pictures in 17 files, 16-d; 9 files removed, 1 skipped" in out
    assert f"9 vectors are not used any more: python run.py index compact {path}" in out
    assert "skipped pear/broken.png" in out
    assert "9 vectors given back; 17 are left" in works(capsys, "index", "compact", path)
    assert f"{path} is clean: 17 pictures" in works(capsys, "index", "verify", path)
    photos.rename(tmp_path / "moved")
    out = works(capsys, "index", "relocate", path, tmp_path / "moved", "--from", photos)
    assert f"is now folder of pictures {tmp_path / 'moved'}" in out
    works(capsys, "index", "export", path, "--out", tmp_path / "out.npy")
    assert np.load(tmp_path / "out.npy").shape == (17, 16)


def test_search_prints_and_writes_what_the_index_finds(path, photos, tmp_path, capsys):
    queries = [photos / "apple" / "0003.png", save_picture(tmp_path / "query.png", 500)]
    shutil.copy(queries[0], photos / "pear" / "copy.png")
    works(capsys, "index", "sync", path)
    file = tmp_path / "found.json"
    out = works(capsys, "search", path, *queries, "-k", 3, "--vote", "--json", file)
    found = json.loads(file.read_text())
    with ibc_pyg.Index.open(path) as index:
        for query, each, hits in zip(
            queries, found["queries"], index.search(queries, k=3), strict=True
        ):
            assert each["query"] == str(query)
            assert each["hits"] == [hit.to_dict() for hit in hits]
            assert each["vote"].keys() == {"label", "share"}
            assert all(hit.path in out for hit in hits)
    assert "identical, 1 more with this content" in out
    assert out.count("vote: ") == 2
    assert works(capsys, "search", path, queries[1], "--where", "label=apple").count("apple/") == 8
    both = ("--where", "label=apple", "--where", "label=plum")
    assert "pear" not in works(capsys, "search", path, queries[1], "-k", 100, *both)
    out = works(capsys, "search", path, queries[1], "--min-similarity", 1, "--vote")
    assert "query.png: no picture found" in out
    assert "vote: no neighbour has a class" in out


def test_search_with_wrong_input(path, photos, tmp_path, capsys):
    query = photos / "apple" / "0000.png"
    assert "-k: must be a whole number from 1" in fails(capsys, "search", path, query, "-k", 0)
    assert "is not a file" in fails(capsys, "search", path, query, tmp_path / "none.png")
    for least in ("2", "nan"):
        assert "--min-similarity must be in [-1, 1]" in fails(
            capsys, "search", path, query, "--min-similarity", least
        )
    assert "takes label=CLASS" in fails(capsys, "search", path, query, "--where", "colour=red")
    assert "no picture has the class 'aple'; did you mean apple" in fails(
        capsys, "search", path, query, "--where", "label=apple", "--where", "label=aple"
    )
    assert "is in the folder of the index" in fails(
        capsys, "search", path, query, "--json", path / "found.json"
    )
    assert "--weights goes with --model" in fails(
        capsys, "search", path, query, "--weights", tmp_path / "w.pth"
    )
    for place in (tmp_path / "none", photos):
        assert "neither an index nor the folder of a run" in fails(capsys, "search", place, query)
    (tmp_path / "text.png").write_text("no picture")
    assert "search with another picture" in fails(capsys, "search", path, tmp_path / "text.png")
    for option in (["--vote"], ["--where", "label=a"], ["--min-similarity", "0"], [query]):
        assert "needs an index, and" in fails(capsys, "search", FINISHED_RUN, query, *option)


def test_wrong_input_of_the_actions(path, photos, tmp_path, capsys):
    def error(*words):
        return fails(capsys, "index", *words)

    assert "required" in error()
    assert "required: --out" in error("build", FINISHED_RUN, photos)
    assert "already holds an index" in error("build", FINISHED_RUN, photos, "--out", path)
    new = tmp_path / "new"
    assert "neither a run folder nor" in error("build", "resnet51", photos, "--out", new)
    assert "there is no folder or CSV file" in error(
        "build", FINISHED_RUN, tmp_path / "none", "--out", new
    )
    assert "unknown data set" in error(
        "build", FINISHED_RUN, "cubs", "--root", photos, "--out", new
    )
    assert "has no picture files" in error(
        "build", FINISHED_RUN, "digits", "--root", photos, "--out", new
    )
    assert "--batch-size must be >= 1" in error(
        "build", FINISHED_RUN, photos, "--out", new, "--batch-size", 0
    )
    assert not new.exists()
    for action in ("sync", "compact", "verify", "info"):
        assert "is not an index" in error(action, tmp_path / "none")
    assert "name what to remove" in error("remove", path)
    assert "the index has no picture in row 24" in error("remove", path, "--row", 24)
    assert "no picture in row" in error("remove", path, "--row", 10**30)
    assert "is not a source of" in error("sync", path, tmp_path)
    assert "there is no" in error("add", path, tmp_path / "none.png")
    assert "add it without a label" in error(
        "add", path, photos / "apple" / "0000.png", "--label", "x"
    )
    assert "none of the pictures" in error("relocate", path, tmp_path)
    assert "in the folder of the index" in error("export", path, "--out", path / "x.npy")
    assert "give a file that ends with" in error("export", path, "--out", tmp_path / "x.txt")


def test_damage_is_reported_with_code_1(path, capsys):
    (file,) = path.glob("*.f32")
    data = bytearray(file.read_bytes())
    data[70] ^= 1
    file.write_bytes(data)
    assert run(["index", "verify", str(path)]) == 1
    out = capsys.readouterr().out
    assert "vector 1 differs from its checksum" in out
    assert "build the index again" in out


def test_another_model_and_embedding_again(path, tmp_path, photos, capsys):
    other = shutil.copytree(FINISHED_RUN, tmp_path / "other")
    weights = load_file(other / "model.safetensors")
    name = "backbone.embedding.weight"
    save_file(weights | {name: weights[name] + 0.01}, other / "model.safetensors")
    query = photos / "apple" / "0000.png"
    assert "--reembed" in fails(capsys, "search", path, query, "--model", other)
    out = works(capsys, "index", "sync", path, "--model", other, "--reembed")
    assert "24 unchanged (24 embedded)" in out
    assert "identical" in works(capsys, "search", path, query)


def test_control_characters_of_names_do_not_reach_the_terminal(tmp_path, capsys):
    photos = tmp_path / "photos"
    save_pictures(photos / "\x1b[31mred", 3, classes=("a\nb",))
    (photos / os.fsdecode(b"\xff\x1b.png")).write_bytes(b"broken")
    arguments = ("build", FINISHED_RUN, photos, "--out", tmp_path / "index")
    out = works(capsys, "index", *arguments)
    query = next(photos.rglob("0000.png"))
    out += works(capsys, "search", tmp_path / "index", query, "--json", tmp_path / "j.json")
    assert "\x1b" not in out
    assert "\\x1b[31mred" in out
    assert json.loads((tmp_path / "j.json").read_text())["queries"][0]["query"] == str(query)
