from __future__ import annotations

import socket
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from ibc_pyg.track.wandb_online import answers, has_key


@pytest.fixture(autouse=True)
def _environment(monkeypatch, tmp_path):
    for name in ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))


def test_key_in_the_environment(monkeypatch):
    assert not has_key("https://wandb.example")
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    assert has_key("https://wandb.example")


def test_key_in_netrc_counts_for_its_host_only(tmp_path):
    (tmp_path / "netrc").write_text("machine wandb.example login user password 0123\n")
    assert has_key("https://wandb.example")
    assert has_key("https://other.example", "https://wandb.example")
    assert not has_key("https://other.example")


def test_broken_netrc_holds_no_key(tmp_path):
    (tmp_path / "netrc").write_text("machine\n")
    assert not has_key("https://wandb.example")


@pytest.mark.parametrize(("status", "expected"), [(200, True), (404, True), (503, False)])
def test_answers_reads_the_status(status, expected):
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(status)
            self.end_headers()

        def log_message(self, *args):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        assert answers(f"http://127.0.0.1:{server.server_port}", 10.0) is expected
    finally:
        server.shutdown()
        server.server_close()


def test_a_silent_server_does_not_answer():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert not answers(f"http://127.0.0.1:{silent.getsockname()[1]}", 0.3)


@pytest.mark.parametrize("server", ["http://127.0.0.1:9", "no address", "http://host.invalid"])
def test_a_missing_server_does_not_answer(server):
    assert not answers(server, 2.0)
