"""A loopback HTTP server that can misbehave in the ways that downloads meet."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Site:
    """Files by path, and for each path what to do request after request (then: serve properly).

    Behaviours: "ok", "503", "503 after 7", "404", "truncate N", "stall N", "drip", "wrong" (other bytes,
    same length), "whole" (ignore Range), "unsized" (no length), "to URL" (redirect), "other" and "swap"
    (from now on a new version with its own ETag, longer or of the same length).
    """

    files: dict[str, bytes]
    script: dict[str, list[str]] = field(default_factory=dict)
    etags: bool = True
    log: list[tuple[str, str | None]] = field(default_factory=list)
    closing: threading.Event = field(default_factory=threading.Event)
    url: str = ""

    def ranges(self, path: str) -> list[str | None]:
        """The Range headers that came for a path, in order."""
        return [span for name, span in self.log if name == path]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    site: Site

    def do_GET(self) -> None:
        site, path = self.site, self.path
        site.log.append((path, self.headers.get("Range")))
        steps = site.script.get(path, [])
        behaviour = steps.pop(0) if steps else "ok"
        self.close_connection = True
        if path not in site.files or behaviour == "404":
            return self.answer(404, b"no such file")
        if behaviour.startswith("503"):
            after = behaviour.partition(" after ")[2]
            return self.answer(503, b"busy", {"Retry-After": after} if after else {})
        data, etag = site.files[path], '"v1"'
        if behaviour.startswith("to "):
            return self.answer(302, b"", {"Location": behaviour[3:]})
        if behaviour == "wrong":
            data = bytes(255 - b for b in data)
        if behaviour == "other":
            site.files[path] = data = b"version 2 " + data
        if behaviour == "swap":
            site.files[path] = data = b"version 2" + data[9:]
        if data.startswith(b"version 2"):
            etag = '"v2"'
        self.body(data, etag if site.etags else None, behaviour)

    def body(self, data: bytes, etag: str | None, behaviour: str) -> None:
        span, condition = self.headers.get("Range"), self.headers.get("If-Range")
        headers = {"ETag": etag} if etag else {}
        start, code = 0, 200
        if span and behaviour != "whole" and (condition is None or condition == etag):
            start, code = int(span.removeprefix("bytes=").split("-")[0]), 206
            if start >= len(data):
                return self.answer(416, b"", {"Content-Range": f"bytes */{len(data)}"})
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        rest = data[start:]
        word, _, number = behaviour.partition(" ")
        if word == "truncate":
            return self.answer(code, rest, headers, cut=int(number))
        if word == "stall":
            return self.answer(code, rest, headers, cut=int(number), after=lambda: self.site.closing.wait(5))
        if word == "unsized":
            return self.answer(code, rest, headers, sized=False)
        if word == "drip":
            return self.answer(code, rest, headers, drip=True)
        self.answer(code, rest, headers)

    def answer(
        self,
        code: int,
        data: bytes,
        headers: dict[str, str] | None = None,
        cut: int | None = None,
        after: Callable[[], object] | None = None,
        drip: bool = False,
        sized: bool = True,
    ) -> None:
        self.send_response(code)
        if sized:
            self.send_header("Content-Length", str(len(data)))
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.end_headers()
        try:
            for position in range(0, min(150, len(data)) if drip else 0):
                self.wfile.write(data[position : position + 1])
                self.wfile.flush()
                if self.site.closing.wait(0.02):
                    return
            if not drip:
                self.wfile.write(data if cut is None else data[:cut])
                self.wfile.flush()
            if after is not None:
                after()
        except OSError:
            pass

    def log_message(self, *_: object) -> None:
        """Quiet."""


class Loopback:
    """Context manager: serves a site on an ephemeral port of 127.0.0.1."""

    def __init__(self, site: Site):
        self.site = site

    def __enter__(self) -> Site:
        handler = type("SiteHandler", (Handler,), {"site": self.site})
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True)
        self.thread.start()
        self.site.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        return self.site

    def __exit__(self, *_: object) -> None:
        self.site.closing.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()
