"""Commands and recipes of docs/scale.md run, as far as their packages are there."""

import importlib
import re
import shlex
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

import ibc_pyg
from ibc_pyg.cli import run
from tests.helpers.index_pictures import FINISHED_RUN, save_picture, save_pictures

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "scale.md").read_text(encoding="utf-8")
RECIPES = dict(re.findall(r"```python (\w+)\n(.*?)```", PAGE, flags=re.S))
PACKAGES = {
    "ray": ["ray.data"],
    "spark": ["pyspark"],
    "pgvector": ["psycopg", "pgvector", "pgserver"],
    "milvus": ["pymilvus", "milvus_lite"],
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))  # for the workers of the recipes
    monkeypatch.setenv("PYSPARK_PYTHON", sys.executable)
    shutil.copytree(FINISHED_RUN, "runs/fruit")
    save_pictures(Path("photos"), 12)
    save_picture(Path("query.jpg"), 61)
    return tmp_path


def test_commands_of_the_page_run(folder, capsys):
    (block,) = re.findall(r"```bash\n(.*?)```", PAGE, flags=re.S)
    for command in block.strip().splitlines():
        program, script, *words = shlex.split(command)
        assert (program, script) == ("python", "run.py")
        assert run(words) == 0, capsys.readouterr().err


def test_every_recipe_is_tested():
    assert RECIPES.keys() == PACKAGES.keys()


@pytest.mark.slow
@pytest.mark.parametrize("name", PACKAGES)
def test_recipes_of_the_page_run(folder, name, monkeypatch):
    for package in PACKAGES[name]:
        pytest.importorskip(package)
    with ibc_pyg.Index.build("runs/fruit", "photos", "photos.index") as index:
        wanted = {each.path: index.vectors[each.row].copy() for each in index.catalogue}
    if name == "pgvector":
        server = importlib.import_module("pgserver").get_server(folder / "postgres")
        monkeypatch.setenv("DATABASE", server.get_uri())
    names = {"__name__": "recipe"}
    exec(RECIPES[name], names)
    if name in ("ray", "spark"):
        parquet = importlib.import_module("pyarrow.parquet")
        rows = parquet.read_table(f"{name}_vectors").to_pylist()
        found = {_absolute(row["path"]): row["vector"] for row in rows}
        assert found.keys() == wanted.keys()
        for path, vector in wanted.items():
            np.testing.assert_allclose(found[path], vector, atol=1e-5)
        return
    hits = names["found"] if name == "pgvector" else names["found"][0]
    assert len(hits) == 3
    best = hits[0][1] if name == "pgvector" else hits[0]["distance"]
    assert best == pytest.approx(1, abs=1e-4)
    if name == "pgvector":
        server.cleanup()


def _absolute(path):
    return str(Path(path.removeprefix("file:")).resolve())
