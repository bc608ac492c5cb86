"""A resolved file is the right file; everything else is one clear sentence."""

from __future__ import annotations

import hashlib
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml

from aligncvc.errors import UserError
from aligncvc.files import PROJECT_ROOT
from aligncvc.models.ledger.ledger import meaning
from aligncvc.models.ledger.resolve import resolve
from aligncvc.models.specs import CheckpointAccess

CONTENT = b"weights"
REVISION = "0123456789" * 4
SHA = hashlib.sha256(CONTENT).hexdigest()


def access(ledger: Path, **terms: object) -> CheckpointAccess:
    return CheckpointAccess(ledger=str(ledger), **terms)


@pytest.fixture
def make(tmp_path: Path):
    """Write a ledger with one entry `tiny`, whose file holds CONTENT; keyword arguments change the entry."""
    (tmp_path / "tiny.bin").write_bytes(CONTENT)

    def write(**changes: object) -> Path:
        entry = {
            "what": "w",
            "source": f"file:{tmp_path / 'tiny.bin'}",
            "sha256": SHA,
            "bytes": len(CONTENT),
            "licence": "MIT",
            **changes,
        }
        path = tmp_path / "ledger.yaml"
        path.write_text(yaml.safe_dump({"version": 1, "checkpoints": {"tiny": entry}}))
        return path

    return write


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Any attempt to open a connection or look up a name is recorded and refused."""
    attempts: list[object] = []

    def refuse(*args: object, **_: object) -> None:
        attempts.append(args)
        raise OSError("no network in this test")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    return attempts


def test_right_file_is_found_and_checked(make, tmp_path: Path) -> None:
    assert resolve("tiny", access(make())) == tmp_path / "tiny.bin"


def test_a_relative_ledger_counts_from_the_project(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert resolve("lpips-alex-heads", CheckpointAccess(ledger="config/checkpoints.yaml")).is_file()
    assert (PROJECT_ROOT / "config/checkpoints.yaml").is_file()


def test_wrong_hash_names_file_expected_and_found(make, tmp_path: Path) -> None:
    other = b"weighty"
    (tmp_path / "tiny.bin").write_bytes(other)
    with pytest.raises(UserError) as error:
        resolve("tiny", access(make()))
    for text in (str(tmp_path / "tiny.bin"), SHA, hashlib.sha256(other).hexdigest()):
        assert text in str(error.value)


def test_a_file_changed_after_its_check_is_checked_again(make, tmp_path: Path) -> None:
    ledger = make()
    resolve("tiny", access(ledger))
    (tmp_path / "tiny.bin").write_bytes(b"WEIGHTS")
    with pytest.raises(UserError, match="expected sha256"):
        resolve("tiny", access(ledger))


def test_truncated_file_is_refused_by_its_size(make, tmp_path: Path) -> None:
    (tmp_path / "tiny.bin").write_bytes(CONTENT[:-1])
    with pytest.raises(UserError, match="has 6 bytes, the ledger says 7"):
        resolve("tiny", access(make()))


def test_an_unrecorded_file_is_not_used(make) -> None:
    with pytest.raises(UserError, match=r"not recorded yet.*record tiny"):
        resolve("tiny", access(make(sha256=None)))


def test_missing_file_says_how_to_make_it(make) -> None:
    with pytest.raises(UserError, match=r"missing.*`snakemake pretrain`"):
        resolve("tiny", access(make(source="file:assets/nowhere.bin", made_by="snakemake pretrain")))


def test_missing_package_is_named(make) -> None:
    with pytest.raises(UserError, match="package no_such_package_here, which is not installed"):
        resolve("tiny", access(make(source="package:no_such_package_here/x.bin")))


@pytest.mark.parametrize("licence", ["AGPL-3.0", "unknown"])
def test_other_licences_are_accepted_by_name_only(make, licence: str) -> None:
    ledger = make(licence=licence)
    with pytest.raises(UserError, match=f"add '{licence}' to checkpoints.accept_licences") as error:
        resolve("tiny", access(ledger))
    assert meaning(licence) in str(error.value), "what accepting means"
    with pytest.raises(UserError):
        resolve("tiny", access(ledger, accept_licences=["GPL-2.0"]))
    assert resolve("tiny", access(ledger, accept_licences=[licence])).is_file()


def test_a_hub_entry_without_revision_says_so(make, no_network: list[object]) -> None:
    with pytest.raises(UserError, match=r"revision and sha256 .* are not recorded yet"):
        resolve("tiny", access(make(source="hub:a/b:c.safetensors", sha256=None), offline=False))
    assert not no_network


@pytest.mark.parametrize("by_environment", [False, True])
def test_offline_stops_before_the_network_is_touched(
    make, no_network: list[object], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, by_environment: bool
) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    if by_environment:
        monkeypatch.setenv("ALIGNCVC_OFFLINE", "1")
    with pytest.raises(UserError, match="network is switched off"):
        resolve(
            "tiny", access(make(source=f"hub:nobody/nothing@{'0' * 40}:c.bin"), offline=not by_environment)
        )
    assert not no_network


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[dict[str, bytes]]:
    """A loopback hub: the dict maps request paths to the bytes it serves, all else is 404."""
    from huggingface_hub import constants

    files: dict[str, bytes] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            body = files.get(self.path)
            self.send_response(404 if body is None else 200)
            self.send_header("Content-Length", str(len(body or b"")))
            self.send_header("ETag", hashlib.sha256(body or b"").hexdigest())
            self.send_header("X-Repo-Commit", REVISION)
            self.end_headers()

        def do_GET(self) -> None:
            self.do_HEAD()
            self.wfile.write(files.get(self.path, b""))

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    here = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(constants, "ENDPOINT", here)
    template = f"{here}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("ALIGNCVC_OFFLINE", raising=False)
    yield files
    server.shutdown()
    server.server_close()


def test_a_hub_file_is_fetched_verified_and_then_found_offline(make, hub: dict[str, bytes]) -> None:
    hub[f"/nobody/model/resolve/{REVISION}/unet/w.bin"] = CONTENT
    ledger = make(source=f"hub:nobody/model@{REVISION}:unet/w.bin")
    path = resolve("tiny", access(ledger, offline=False))
    assert path.read_bytes() == CONTENT
    hub.clear()
    assert resolve("tiny", access(ledger, offline=True)) == path


def test_wrong_bytes_from_the_hub_are_refused(make, hub: dict[str, bytes]) -> None:
    hub[f"/nobody/model/resolve/{REVISION}/w.bin"] = b"WEIGHTS"
    ledger = make(source=f"hub:nobody/model@{REVISION}:w.bin")
    with pytest.raises(UserError, match="expected sha256"):
        resolve("tiny", access(ledger, offline=False))
    hub[f"/nobody/model/resolve/{REVISION}/w.bin"] = CONTENT
    assert resolve("tiny", access(ledger, offline=False)).read_bytes() == CONTENT


def test_a_file_that_lay_in_the_hubs_cache_before_is_not_removed(make, hub: dict[str, bytes]) -> None:
    """Other programs share that cache: a ledger with a wrong hash must not empty it."""
    hub[f"/nobody/model/resolve/{REVISION}/w.bin"] = CONTENT
    source = f"hub:nobody/model@{REVISION}:w.bin"
    path = resolve("tiny", access(make(source=source), offline=False))
    with pytest.raises(UserError, match=r"expected sha256 .*; remove it, then fetch"):
        resolve("tiny", access(make(source=source, sha256="0" * 64), offline=False))
    assert path.read_bytes() == CONTENT


def test_a_file_the_hub_lacks_is_one_sentence(make, hub: dict[str, bytes]) -> None:
    with pytest.raises(UserError, match="could not be fetched from hub:nobody/nothing") as error:
        resolve("tiny", access(make(source=f"hub:nobody/nothing@{REVISION}:w.bin"), offline=False))
    assert "\n" not in str(error.value)
