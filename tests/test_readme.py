"""The pages: commands and Python of the README run, tables are the recorded ones, links exist."""

import re
import shlex
import shutil
from pathlib import Path

import pytest

from ibc_pyg.cli import run

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "experiments").glob("*/README.md")),
]


def test_commands_and_python_run_one_after_the_other(tmp_path, monkeypatch, capsys):
    shutil.copytree(
        ROOT / "experiments", tmp_path / "experiments", ignore=shutil.ignore_patterns("results")
    )
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```(bash|python)\n(.*?)```", README, flags=re.S)
    assert {language for language, _ in blocks} == {"bash", "python"}
    names = {}
    for language, block in blocks:
        if language == "python":
            exec(block, names)
            continue
        for command in block.strip().splitlines():
            program, script, *arguments = shlex.split(command)
            assert (program, script) == ("python", "run.py")
            code = run(arguments)
            captured = capsys.readouterr()
            assert code == 0, f"{command}\n{captured.out}\n{captured.err}"
    assert names["z"].shape == (len(names["files"]), names["model"].dim)
    assert names["refined"].shape == (54, 512)
    assert (tmp_path / "runs/sample/report.html").is_file()
    assert (tmp_path / "runs/steps/table.md").read_text().count("| steps=") == 2
    assert list((tmp_path / "runs/tracked/wandb").glob("offline-run-*/*.wandb"))
    # In a checkout, git shows none of it as untracked.
    left = {path.name for path in tmp_path.iterdir()} - {"experiments"}
    ignored = (ROOT / ".gitignore").read_text().split()
    assert {f"/{name}/" for name in left} <= set(ignored)


def test_every_command_has_a_row(capsys):
    with pytest.raises(SystemExit):
        run(["--help"])
    commands = re.findall(r"^    ([a-z-]+)(?:  |$)", capsys.readouterr().out, flags=re.M)
    assert re.findall(r"^\| `([a-z-]+)` \|", README, flags=re.M) == commands


@pytest.mark.parametrize(
    "page",
    [
        "docs/performance.md",
        "docs/publish.md",
        "docs/refinement.md",
        "docs/reproduce.md",
        "docs/results.md",
        "docs/collections.md",
        "docs/plugins.md",
        "docs/scale.md",
        "docs/serve.md",
    ],
)
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


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_and_pictures_exist(page):
    text = page.read_text(encoding="utf-8")
    targets = re.findall(r"\]\(([^)#]+)\)", text) + re.findall(r'src(?:set)?="([^"]+)"', text)
    for target in targets:
        if not target.startswith(("http://", "https://")):
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_to_sections_exist(page):
    text = page.read_text(encoding="utf-8")
    for name, section in re.findall(r"\]\(([^)#:]*)#([^)]+)\)", text):
        linked = (page.parent / name).read_text(encoding="utf-8") if name else text
        headings = re.findall(r"^#+ (.*)$", linked, flags=re.M)
        anchors = [
            re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings
        ]
        assert section in anchors, f"{name}#{section}"
