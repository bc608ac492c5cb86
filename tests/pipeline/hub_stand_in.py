"""A TEST DOUBLE for the hub, on this machine's loopback: enough for one repository to be pushed and pulled.

It speaks what huggingface_hub 2.4 asks for: create, preupload (every file inline), commit, and reading back.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

COMMIT = "c0ffee" + "0" * 34


@contextmanager
def hub() -> Iterator[tuple[str, dict[str, bytes]]]:
    """Its address, and the files of the one repository that has been pushed, by path."""
    files: dict[str, bytes] = {}

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None: ...

        def answer(self, body: bytes, status: int = 200, **headers: str) -> None:
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def say(self, value: Any, status: int = 200) -> None:
            self.answer(json.dumps(value).encode(), status, Content_Type="application/json")

        def do_POST(self) -> None:
            sent = self.rfile.read(int(self.headers["Content-Length"]))
            if self.path == "/api/repos/create":
                name = json.loads(sent)["name"]
                owner = json.loads(sent).get("organization") or "nobody"
                self.say({"url": f"{address}/{owner}/{name}", "name": f"{owner}/{name}"})
            elif "/preupload/" in self.path:
                asked = json.loads(sent)["files"]
                inline = {"uploadMode": "regular", "shouldIgnore": False}
                self.say({"files": [{"path": file["path"], **inline} for file in asked]})
            elif "/commit/" in self.path:
                for line in map(json.loads, sent.splitlines()):
                    if line["key"] == "file":
                        files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
                self.say({"commitUrl": f"{address}/nobody/pair/commit/{COMMIT}", "commitOid": COMMIT})
            else:
                self.say({"warnings": [], "errors": []})  # validate-yaml

        def do_GET(self) -> None:
            resolved = re.fullmatch(r"/nobody/pair/resolve/[^/]+/(.+)", self.path)
            if resolved and resolved[1] in files:
                content = files[resolved[1]]
                etag = f'"{hashlib.sha1(content).hexdigest()}"'
                self.answer(content, ETag=etag, X_Repo_Commit=COMMIT)
            elif re.match(r"/api/models/nobody/pair(/revision/[^/]+)?(\?|$)", self.path) and files:
                siblings = [{"rfilename": path} for path in files]
                self.say({"id": "nobody/pair", "sha": COMMIT, "siblings": siblings})
            elif re.match(r"/api/models/nobody/pair/tree/", self.path) and files:
                sizes = {path: len(content) for path, content in files.items()}
                self.say([{"type": "file", "path": p, "size": s, "oid": "0" * 40} for p, s in sizes.items()])
            else:
                self.say({"error": "Repository not found"}, 404)

        do_HEAD = do_GET  # noqa: N815  (the name that the server calls)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield address, files
    finally:
        server.shutdown()
        thread.join()
