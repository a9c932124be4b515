"""The README is true: its commands run, its table is the one that was measured, its links exist."""

import re
import shlex
import shutil
from pathlib import Path

import pytest

from ibc_pyg.cli import run

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.S)


def test_the_commands_of_the_tour_run_one_after_the_other(tmp_path, monkeypatch, capsys):
    shutil.copytree(ROOT / "experiments", tmp_path / "experiments")
    monkeypatch.chdir(tmp_path)
    commands = [line for block in blocks("bash") for line in block.strip().splitlines()]
    assert len(commands) >= 10
    for command in commands:
        program, script, *arguments = shlex.split(command)
        assert (program, script) == ("python", "run.py")
        code = run(arguments)
        captured = capsys.readouterr()
        assert code == 0, f"{command}\n{captured.out}\n{captured.err}"
    assert (tmp_path / "runs/sample/report.html").is_file()
    assert (tmp_path / "runs/steps/table.md").read_text().count("| steps=") == 2
    assert list((tmp_path / "runs/tracked/wandb").glob("offline-run-*/*.wandb"))


def test_the_python_of_the_readme_runs():
    (code,) = blocks("python")
    names = {}
    exec(code, names)
    assert names["refined"].shape == (54, 512)


@pytest.mark.parametrize("page", ["README.md", "docs/performance.md", "docs/results.md"])
def test_the_tables_are_those_that_were_measured(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    sections = re.findall(r"<!-- results: (\S+) -->\n(.*?)<!-- /results -->", text, flags=re.S)
    assert sections
    for path, table in sections:
        assert table.strip() == (ROOT / path).read_text(encoding="utf-8").strip(), path


def test_every_target_of_make_has_a_line_in_its_help():
    makefile = (ROOT / "Makefile").read_text()
    (phony,) = re.findall(r"^\.PHONY: (.*)$", makefile, flags=re.M)
    for target in phony.split():
        assert re.search(rf"^{target}:.*## \S", makefile, flags=re.M), target
    assert set(re.findall(r"make ([a-z-]+)", README)) <= {*phony.split()}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_pictures_exist(page):
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
        if not target.startswith(("http://", "https://")):
            assert (page.parent / target).exists(), target
