"""Pages of docs/tutorials: their commands run, one page after the other in an empty folder."""

import ast
import json
import re
import shlex
import shutil
from pathlib import Path

import pytest

from examples.notebook import cells, notebook
from ibc_pyg.cli import make_parser, run
from tests.helpers.index_pictures import FINISHED_RUN

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted((ROOT / "docs" / "tutorials").glob("*.md"))
SCRIPT = ROOT / "examples" / "first_hour.py"
BLOCK = re.compile(
    r"(?:<!-- tested with: (?P<more>.*?) -->\n)?```(?P<language>bash|python)(?P<head>.*?)\n"
    r"(?P<text>.*?)```",
    re.DOTALL,
)
# Trainings of whole data sets.
SLOW = ("first_run", "reproduce_a_table", "own_layer")


def blocks(page):
    return [found.groupdict() for found in BLOCK.finditer(page.read_text(encoding="utf-8"))]


def commands(block):
    for line in block["text"].strip().splitlines():
        program, script, *words = shlex.split(line)
        assert (program, script) == ("python", "run.py"), line
        yield line, words


def options(text):
    """Return the words of `--field value --field {a: b}`; a value may hold spaces."""
    return [word for pair in re.findall(r"(--\S+) (.*?)(?= --|$)", text or "") for word in pair]


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, id=page.stem, marks=pytest.mark.slow if page.stem in SLOW else ())
        for page in PAGES
        if blocks(page)
    ],
)
def test_the_page_runs(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(FINISHED_RUN, "pretrained")
    for block in blocks(page):
        if title := re.search(r'title="(.*?)"', block["head"]):
            Path(title[1]).write_text(block["text"])
        elif block["language"] == "python":
            exec(block["text"], {})
        else:
            for line, words in commands(block):
                # The published weights would be downloaded.
                words = ["pretrained" if word == "resnet50" else word for word in words]
                code = run([*words, *options(block["more"])])
                captured = capsys.readouterr()
                assert code == 0, f"{line}\n{captured.out}\n{captured.err}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_commands_of_the_page_can_be_parsed(page):
    for block in blocks(page):
        if block["language"] == "python":
            ast.parse(block["text"])
            continue
        for line, words in commands(block):
            assert make_parser().parse_known_args(words)[0].command == words[0], line


def test_the_notebook_has_the_cells_of_the_script():
    written = json.loads(SCRIPT.with_suffix(".ipynb").read_text())
    assert written == notebook(SCRIPT.read_text())
    assert len(written["cells"]) > 10
    for kind, source in cells(SCRIPT.read_text()):
        assert source
        if kind == "code":
            ast.parse(source)


@pytest.mark.slow
def test_the_script_runs(capsys):
    exec(compile(SCRIPT.read_text(), SCRIPT, "exec"), {})
    said = capsys.readouterr().out
    assert "(72, 64)" in said
    assert "0 added, 72 unchanged" in said
