"""The command `serve`: bad input in one line, a server that answers and ends, and its page."""

import asyncio
import json
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

import ibc_pyg
from ibc_pyg.cli import run
from ibc_pyg.commands.serve import listening
from tests.helpers.index_pictures import FINISHED_RUN, save_pictures
from tests.helpers.served import served

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "serve.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    folder = tmp_path_factory.mktemp("serve")
    save_pictures(folder / "photos", 9)
    with ibc_pyg.Index.build(FINISHED_RUN, folder / "photos", folder / "photos.index") as index:
        yield index


def fails(capsys, *words):
    assert run(["serve", *map(str, words)]) == 2
    out = capsys.readouterr()
    assert out.err.count("\n") == 1
    assert out.out == ""
    return out.err


def test_bad_input(capsys, index, tmp_path):
    assert "is not an index" in fails(capsys, tmp_path)
    assert "add --token" in fails(capsys, index.path, "--host", "0.0.0.0")
    assert "at least 16" in fails(capsys, index.path, "--token", "short")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert "choose --port" in fails(capsys, index.path, "--port", port)


def test_without_the_extra(capsys, index, monkeypatch):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert "pip install 'ibc-pyg[serve]'" in fails(capsys, index.path)


def test_the_server_answers_and_ends_with_an_interrupt(index):
    command = [sys.executable, "run.py", "serve", str(index.path), "--port", "0"]
    server = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    line = server.stdout.readline()
    url = re.search(r"9 pictures; open (http://127\.0\.0\.1:\d+)", line)[1]
    picture = next((index.path.parent / "photos").rglob("*.png")).read_bytes()
    with urllib.request.urlopen(f"{url}/api/search?k=2", picture) as answer:
        assert json.load(answer)["hits"][0]["identical"]
    server.send_signal(signal.SIGINT)
    out, err = server.communicate(timeout=30)
    assert (out, err) == ("", "stopped\n")


def test_small_answers_are_sent_at_once():
    """Without TCP_NODELAY each answer waits 40 ms for the client's delayed acknowledgement."""

    async def accepted():
        found = asyncio.get_running_loop().create_future()
        with listening("127.0.0.1", 0) as listener:
            address = listener.getsockname()
            server = await asyncio.start_server(lambda _, to: found.set_result(to), sock=listener)
            async with server:
                _, client = await asyncio.open_connection(*address)
                writer = await found
                there = writer.get_extra_info("socket")
                option = there.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
                writer.close()
                client.close()
        return option

    assert asyncio.run(accepted())


def test_the_page_names_every_option_and_its_python_runs(capsys, index, monkeypatch, tmp_path):
    with pytest.raises(SystemExit):
        run(["serve", "--help"])
    options = set(re.findall(r"^  (--[a-z-]+)", capsys.readouterr().out, flags=re.M))
    assert options - {"--debug", "--help"} <= set(re.findall(r"--[a-z-]+", PAGE))
    client, application = re.findall(r"```python\n(.*?)```", PAGE, flags=re.S)
    monkeypatch.chdir(index.path.parent)
    picture = next(Path("photos").rglob("*.png"))
    Path("query.jpg").write_bytes(picture.read_bytes())
    with served(index) as server:
        exec(client.replace("127.0.0.1:8000", f"127.0.0.1:{server.port}"), {})
        addresses = set(server.app.openapi()["paths"])
    assert str(picture) in capsys.readouterr().out
    named = set(re.findall(r"(?:GET|POST) (/[a-z/{}]+)", PAGE)) | {"/metrics"}
    assert named - {"/openapi"} == addresses
    exec(application, {})


def test_the_shipped_examples_use_options_that_exist():
    for name in ("Dockerfile", "ibc-pyg.service", "nginx.conf"):
        text = (ROOT / "examples" / "serve" / name).read_text()
        assert "serve" in text
        for option in re.findall(r"--(?:host|port|token|name|model)\b", text):
            assert option in PAGE
