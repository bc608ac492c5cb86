"""HTTP downloads that end in a verified file or one clear sentence.

Retries by an exponential schedule, resumes by HTTP Range (If-Range where the server names a version), notices
stalls and slow drips, checks length and sha256, and renames only a complete file into place.
"""

from __future__ import annotations

import http.client
import json
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aligncvc.errors import UserError
from aligncvc.files import sha256_file, write_json
from aligncvc.limits import DOWNLOAD_BYTES

CHUNK = 1 << 16
LOOPBACK = {"localhost", "127.0.0.1", "::1"}
RETRY_STATUS = {408, 425, 429, 500, 502, 503, 504}


class _TemporaryError(Exception):
    """A failure worth another attempt. wait: seconds the server asks for, if it does."""

    def __init__(self, reason: str, wait: float | None = None):
        super().__init__(reason)
        self.wait = wait


@dataclass(frozen=True)
class Policy:
    """How patient a download is. Waits double from first_wait up to max_wait, without jitter."""

    attempts: int = 6
    first_wait: float = 1.0
    max_wait: float = 60.0
    stall_seconds: float = 30.0
    stall_bytes: int = 1024
    most_bytes: int = DOWNLOAD_BYTES
    sleep: Callable[[float], None] = field(default=time.sleep, repr=False)


def download(url: str, target: Path, *, sha256: str | None = None, policy: Policy = Policy()) -> None:
    """Fetch `url` (`require_safe`) to `target`; the next call resumes an interrupted one (`.<name>.part`).

    sha256: of the complete file, checked if given. Raises UserError when the server refuses, the bytes
    are wrong or too many (policy.most_bytes) or every attempt failed.
    """
    require_safe(url)
    target.parent.mkdir(parents=True, exist_ok=True)
    part = _Part(url, target)
    wrong: set[str] = set()
    for attempt in range(1, policy.attempts + 1):
        asked = None
        try:
            part.receive(policy)
            found = sha256_file(part.path)
            good = sha256 in (None, found)
            if good:
                part.path.replace(target)
            part.discard()
            if good:
                return
            if found in wrong:
                raise UserError(f"{url} has sha256 {found}, expected {sha256}; the file there is another")
            wrong.add(found)
            reason = f"wrong sha256 {found}, expected {sha256}"
        except _TemporaryError as error:
            reason, asked = str(error), error.wait
        except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
            cause: Any = getattr(error, "reason", error)
            reason = f"{type(cause).__name__ if not isinstance(cause, str) else 'error'}: {cause}"
            if TimeoutError in (type(cause), type(error)):
                reason = f"the server stalled for {policy.stall_seconds:g} s"
        if attempt < policy.attempts:
            own = policy.first_wait * 2.0 ** (attempt - 1)
            policy.sleep(min(policy.max_wait, max(own, asked or 0.0)))
    raise UserError(f"{url} could not be downloaded in {policy.attempts} attempts; the last: {reason}")


def require_safe(url: str) -> None:
    """UserError unless nobody between can read or change what comes: https, or http from this machine."""
    parts = urllib.parse.urlsplit(url)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in LOOPBACK):
        raise UserError(f"{url} is no https address; give one, or a file")


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    """An address that a server sends us to has to be as safe as the one that was given."""

    def redirect_request(self, request: Any, *answer: Any) -> urllib.request.Request | None:
        require_safe(answer[-1])
        return super().redirect_request(request, *answer)


_open = urllib.request.build_opener(_SafeRedirects).open


class _Part:
    """The unfinished file and what is known about the version that it belongs to."""

    def __init__(self, url: str, target: Path):
        self.url = url
        self.path = target.with_name(f".{target.name}.part")
        self.facts_path = target.with_name(f".{target.name}.part.json")
        if self._facts().get("url") != url:
            self.discard()

    def _facts(self) -> dict[str, Any]:
        try:
            return dict(json.loads(self.facts_path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return {}

    def discard(self) -> None:
        self.path.unlink(missing_ok=True)
        self.facts_path.unlink(missing_ok=True)

    def receive(self, policy: Policy) -> None:
        """Fetch what is missing."""
        facts = self._facts()
        have = self.path.stat().st_size if self.path.exists() else 0
        headers = {"Accept-Encoding": "identity", "User-Agent": "aligncvc"}
        if have:
            headers["Range"] = f"bytes={have}-"
            if facts.get("validator"):
                headers["If-Range"] = str(facts["validator"])
        request = urllib.request.Request(self.url, headers=headers)
        try:
            response = _open(request, timeout=policy.stall_seconds)
        except urllib.error.HTTPError as error:
            with error:
                self._refused(error, have)
        with response:
            start, total = _extent(response)
            if start != have or (have and facts.get("total") not in (None, total)):
                self.discard()
                if start:
                    raise _TemporaryError("the file changed on the server during the download")
            if total is not None and total > policy.most_bytes:
                raise UserError(f"{self.url} has {total:,} bytes, more than {policy.most_bytes:,}")
            etag = response.headers.get("ETag", "")
            strong = etag if etag and not etag.startswith("W/") else response.headers.get("Last-Modified")
            write_json(self.facts_path, {"url": self.url, "total": total, "validator": strong})
            with self.path.open("ab" if start else "wb") as handle:
                _copy(response, handle, policy, policy.most_bytes - start)
        length = self.path.stat().st_size
        if total is not None and length != total:
            if length > total:
                self.discard()
            raise _TemporaryError(f"the connection ended after {length} of {total} bytes")

    def _refused(self, error: urllib.error.HTTPError, have: int) -> None:
        if error.code == 416 and have:  # the part is longer than the file: begin again
            self.discard()
            raise _TemporaryError("the server refused to resume (HTTP 416)")
        if error.code in RETRY_STATUS:
            asked = error.headers.get("Retry-After", "") if error.headers else ""
            wait = float(asked) if asked.isdigit() else None
            raise _TemporaryError(f"HTTP {error.code} {error.reason}", wait)
        raise UserError(f"{self.url} cannot be downloaded: HTTP {error.code} {error.reason}")


def _extent(response: Any) -> tuple[int, int | None]:
    """(first byte's position, whole file's length or None) of a 200 or 206 answer."""
    length = response.headers.get("Content-Length")
    if response.status == 206:
        span = response.headers.get("Content-Range", "")
        try:
            first, total = span.removeprefix("bytes ").split("/")
            return int(first.split("-")[0]), None if total == "*" else int(total)
        except ValueError:
            raise _TemporaryError(f"the server's Content-Range {span!r} makes no sense") from None
    return 0, int(length) if length is not None and length.isdigit() else None


def _copy(response: Any, handle: Any, policy: Policy, most: int) -> None:
    """Copy the body as it comes; less than stall_bytes within stall_seconds is a stall.

    UserError for more than `most` bytes, from a server that does not say beforehand how many come.
    """
    allowed = most
    since, received = time.monotonic(), 0
    while chunk := response.read1(CHUNK):
        allowed -= len(chunk)
        if allowed < 0:
            raise UserError(f"{response.url} sends more than {policy.most_bytes:,} bytes")
        handle.write(chunk)
        received += len(chunk)
        now = time.monotonic()
        if now - since >= policy.stall_seconds:
            if received < policy.stall_bytes:
                raise _TemporaryError(f"the server sent {received} bytes in {now - since:.1f} s")
            since, received = now, 0


def cached(path: Path, sha256: str | None) -> bool:
    """Whether a verified file is already there (a file with another hash is removed)."""
    if path.is_file() and sha256 not in (None, sha256_file(path)):
        path.unlink()
    return path.is_file()
