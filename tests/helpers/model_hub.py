"""A server with the interface of the Hugging Face hub, for one model repository in memory."""

import base64
import hashlib
import json
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import unquote, urlsplit

COMMIT = "c" * 40


class ModelHub(BaseHTTPRequestHandler):
    """Creation, upload and download of a repository; its files are those of the server."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        path = urlsplit(self.path).path
        if path == "/api/repos/create":
            self.server.created = json.loads(body)
            self.answer({"url": f"{self.server.address}/owner/model"})
        elif path == "/api/validate-yaml":
            self.answer({"errors": [], "warnings": []})
        elif path == "/api/models/owner/model/preupload/main":
            files = [each["path"] for each in json.loads(body)["files"]]
            modes = [
                {"path": each, "uploadMode": "regular", "shouldIgnore": False} for each in files
            ]
            self.answer({"files": modes})
        elif path == "/api/models/owner/model/commit/main":
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    value = line["value"]
                    self.server.files[value["path"]] = base64.b64decode(value["content"])
            url = f"{self.server.address}/owner/model/commit/{COMMIT}"
            self.answer({"success": True, "commitOid": COMMIT, "commitUrl": url})
        else:
            self.answer({"error": path}, 404)

    def do_GET(self):
        path = urlsplit(self.path).path
        files = self.server.files
        if path.startswith("/owner/model/resolve/"):
            content = files.get(unquote(path.split("/", 5)[5]))
            self.file(content)
        elif path in ("/api/models/owner/model", "/api/models/owner/model/revision/main"):
            names = [{"rfilename": each} for each in files]
            self.answer({"id": "owner/model", "sha": COMMIT, "siblings": names})
        elif path.startswith("/api/models/owner/model/tree/"):
            self.answer(
                [
                    {"type": "file", "path": each, "size": len(content), "oid": digest(content)}
                    for each, content in files.items()
                ]
            )
        else:
            self.answer({"error": path}, 404)

    def do_HEAD(self):
        self.do_GET()

    def file(self, content):
        if content is None:
            self.answer({"error": "no such file"}, 404)
            return
        headers = {"ETag": f'"{digest(content)}"', "X-Repo-Commit": COMMIT}
        self.send(content, 200, headers)

    def answer(self, values, status=200):
        self.send(json.dumps(values).encode(), status, {"Content-Type": "application/json"})

    def send(self, content, status, headers):
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *_):
        """Print nothing."""


def digest(content):
    return hashlib.sha1(content).hexdigest()


@contextmanager
def model_hub():
    """Yield a running server with `address`, `files` by path, and `created`, the new repository."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), ModelHub)
    server.address = f"http://127.0.0.1:{server.server_port}"
    server.files, server.created = {}, None
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
