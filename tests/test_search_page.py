"""Commands and Python of docs/search.md run, on tiny pictures and a tiny model."""

import re
import shlex
import shutil
from pathlib import Path

from ibc_pyg.cli import run
from tests.helpers.index_pictures import FINISHED_RUN, save_picture, save_pictures

PAGE = Path(__file__).resolve().parents[1] / "docs" / "search.md"


def test_commands_and_python_of_the_page_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(FINISHED_RUN, "runs/fruit")
    files = save_pictures(Path("photos"), 12)
    save_pictures(Path("more"), 4, first_seed=50)
    save_picture(Path("inbox/new.jpg"), 60)
    save_picture(Path("query.jpg"), 61)
    lines = [f"{file.relative_to('photos')},{file.parent.name},test" for file in files]
    Path("photos/list.csv").write_text("\n".join(["path,label,split", *lines]))
    blocks = re.findall(r"```(bash|python)\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.S)
    assert [language for language, _ in blocks].count("python") == 1
    actions = set()
    for language, block in blocks:
        if language == "python":
            exec(block, {})
            continue
        for command in block.strip().splitlines():
            program, script, *words = shlex.split(command)
            assert (program, script) == ("python", "run.py")
            # The published weights would be downloaded.
            words = ["runs/fruit" if word == "resnet50" else word for word in words]
            code = run(words)
            captured = capsys.readouterr()
            assert code == 0, f"{command}\n{captured.out}\n{captured.err}"
            actions.add(" ".join(words[: 1 + (words[0] == "index")]))
    named = set(re.findall(r"^    ([a-z]+)(?:  |$)", help_of("index", capsys), flags=re.M))
    pages = [
        PAGE.with_name(name).read_text(encoding="utf-8") for name in ("collections.md", "scale.md")
    ]
    elsewhere = set(re.findall(r"^python run\.py index ([a-z]+)", "\n".join(pages), flags=re.M))
    assert actions == {"search", *(f"index {action}" for action in named - elsewhere)}


def help_of(command, capsys):
    try:
        run([command, "--help"])
    except SystemExit:
        return capsys.readouterr().out
    raise AssertionError("--help does not exit")
