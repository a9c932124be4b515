"""`index refine` and `search --refine` on the command line."""

import json

import pytest

from tests.helpers.command_line import fails, works
from tests.helpers.index_pictures import FINISHED_RUN, save_picture, save_pictures


@pytest.fixture
def path(tmp_path, capsys):
    save_pictures(tmp_path / "photos", 24)
    works(capsys, "index", "build", FINISHED_RUN, tmp_path / "photos", "--out", tmp_path / "index")
    return tmp_path / "index"


def test_from_refinement_to_a_stale_index(path, tmp_path, capsys):
    query = save_picture(tmp_path / "query.png", 500)
    search = ("search", path, query, "-k", 3, "--refine")
    assert "no refined vectors; make them: python run.py index refine" in fails(
        capsys, *search, "dba"
    )
    out = works(capsys, "index", "refine", path, "--refine-k", 4, "--refine-share", 0.5)
    assert "24 pictures refined by dba (k 4, " in out
    assert "share 0.5); search: python run.py search" in out
    assert "refined vectors: dba (k 4, " in works(capsys, "index", "info", path)
    file = tmp_path / "found.json"
    for method in ("dba", "aqe"):
        works(capsys, *search, method, "--json", file)
        assert len(json.loads(file.read_text())["queries"][0]["hits"]) == 3
    works(capsys, "index", "remove", path, "--label", "pear")
    assert f"stale; make them again: python run.py index refine {path}" in works(
        capsys, "index", "info", path
    )
    assert "are stale: its pictures have changed since" in fails(capsys, *search, "dba")
    works(capsys, "index", "refine", path)
    works(capsys, *search, "dba")
    assert "has no refined vectors" in works(capsys, "index", "refine", path, "--refine", "none")
    assert "refined" not in works(capsys, "index", "info", path)


def test_wrong_input_is_one_line(path, tmp_path, capsys):
    query = save_picture(tmp_path / "query.png", 500)
    for words, error in (
        (
            ["index", "refine", path, "--refine", "aqe"],
            "aqe stores nothing in an index: python run.py search INDEX QUERY --refine aqe",
        ),
        (["index", "refine", path, "--refine", "best"], "not 'best': `evaluate --refine`"),
        (
            ["index", "refine", path, "--refine", "none", "--refine-k", 3],
            "--refine-k has no effect",
        ),
        (["index", "refine", path, "--refine-share", 1], "with a share of 1 or a k of 0"),
        (["search", path, query, "--refine", "gnn"], "not 'gnn': it pools the queries"),
        (["index", "refine", path, "--method", "gcr"], "not 'gcr': it pools the queries"),
        (["index", "refine", path, "--method", "refiner"], "there is no"),
        (["index", "refine", path, "--method", "refiner", "--refine-k", 3], "no effect on refiner"),
        (["search", path, query, "--refine-k", 3], "--refine-k has no effect on a search"),
        (
            ["search", path, query, "--refine", "dba", "--refine-k", 3],
            "no effect on what is stored of dba",
        ),
        (["search", FINISHED_RUN, query, "--refine", "aqe"], "needs an index, and"),
    ):
        assert error in fails(capsys, *words)
