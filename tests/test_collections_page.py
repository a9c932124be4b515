"""Commands, Python and tables of docs/collections.md, on tiny pictures and a tiny model."""

import re
import shlex
import shutil
from pathlib import Path

from ibc_pyg.cli import run
from tests.helpers.index_pictures import FINISHED_RUN, save_picture, save_pictures

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "docs" / "collections.md").read_text(encoding="utf-8")


def test_commands_and_python_of_the_page_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(FINISHED_RUN, "runs/fruit")
    files = save_pictures(Path("photos"), 12)
    save_pictures(Path("test"), 3, first_seed=40)
    save_picture(Path("query.jpg"), 61)
    lines = [
        f"{file.relative_to('photos')},{file.parent.name},{'train' if i < 6 else 'test'}"
        for i, file in enumerate(files)
    ]
    Path("photos/list.csv").write_text("\n".join(["path,label,split", *lines]))
    for folder in ("photos", "test"):
        assert run(["index", "build", "runs/fruit", folder, "--out", f"{folder}.index"]) == 0
    blocks = re.findall(r"```(bash|python)\n(.*?)```", TEXT, flags=re.S)
    names = {}
    for language, block in blocks:
        if language == "python":
            exec(block, names)
            continue
        for command in block.strip().splitlines():
            program, script, *words = shlex.split(command)
            assert (program, script) == ("python", "run.py")
            code = run(words)
            captured = capsys.readouterr()
            assert code == 0, f"{command}\n{captured.out}\n{captured.err}"
    assert abs(names["pair"].maps[0].sum() - names["pair"].cosine) < 1e-6
    assert sum(names["sizes"]) == 12
    pages = ("duplicates", "outliers", "groups", "map", "explanation")
    for page in pages:
        assert "default-src" in Path(f"{page}.html").read_text()


def test_the_tables_are_those_that_were_measured():
    sections = re.findall(r"<!-- results: (\S+) -->\n(.*?)<!-- /results -->", TEXT, flags=re.S)
    assert sections
    for path, table in sections:
        assert table.strip() == (ROOT / path).read_text(encoding="utf-8").strip(), path
