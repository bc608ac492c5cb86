"""Downloads against a loopback server that truncates, stalls, refuses and lies."""

from __future__ import annotations

import hashlib
import random
from dataclasses import replace
from pathlib import Path

import pytest

from aligncvc.errors import UserError
from aligncvc.objects.download import Policy, cached, download

DATA = random.Random(0).randbytes(50_000)
SHA = hashlib.sha256(DATA).hexdigest()
FILES = {"/f.bin": DATA}


def leftovers(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


@pytest.mark.parametrize("etags", [True, False])
@pytest.mark.parametrize(("steps", "ranges"), [
    ([], [None]),
    (["truncate 20000", "truncate 10000"], [None, "bytes=20000-", "bytes=30000-"]),
    (["truncate 20000", "whole"], [None, "bytes=20000-"]),  # a server without ranges: begin again
    (["stall 20000"], [None, "bytes=20000-"]),
    (["wrong"], [None, None]),  # nothing of the wrong file is kept
])  # fmt: skip
def test_the_whole_file_arrives_from_bad_servers(serve, policy, tmp_path, etags, steps, ranges):
    site = serve(dict(FILES), script={"/f.bin": list(steps)}, etags=etags)
    download(f"{site.url}/f.bin", tmp_path / "f.bin", sha256=SHA, policy=policy)
    assert (tmp_path / "f.bin").read_bytes() == DATA and site.ranges("/f.bin") == ranges
    assert leftovers(tmp_path) == ["f.bin"]


@pytest.mark.parametrize(("step", "etags", "expected"), [
    ("other", True, b"version 2 " + DATA),
    ("swap", True, b"version 2" + DATA[9:]),  # of equal length
    ("other", False, b"version 2 " + DATA),  # noticed by its length
], ids=["longer", "equal length", "no etag"])  # fmt: skip
def test_a_new_version_during_the_download_is_not_mixed(serve, policy, tmp_path, step, etags, expected):
    site = serve(dict(FILES), script={"/f.bin": ["truncate 20000", step]}, etags=etags)
    download(f"{site.url}/f.bin", tmp_path / "f.bin", policy=policy)
    assert (tmp_path / "f.bin").read_bytes() == expected


def test_503_twice_then_ok_waits_by_schedule(serve, policy, waits, tmp_path):
    site = serve(dict(FILES), script={"/f.bin": ["503", "503"]})
    download(f"{site.url}/f.bin", tmp_path / "f.bin", sha256=SHA, policy=policy)
    assert (tmp_path / "f.bin").read_bytes() == DATA
    assert waits == [1.0, 2.0]


def test_retry_after_is_honoured_up_to_the_limit(serve, policy, waits, tmp_path):
    site = serve(dict(FILES), script={"/f.bin": ["503 after 7", "503 after 9999"]})
    download(f"{site.url}/f.bin", tmp_path / "f.bin", policy=policy)
    assert waits == [7.0, policy.max_wait]


def test_a_later_call_resumes_what_an_earlier_left(serve, policy, tmp_path):
    site = serve(dict(FILES), script={"/f.bin": ["truncate 20000"]})
    once = Policy(attempts=1)
    with pytest.raises(UserError, match="ended after 20000 of 50000 bytes"):
        download(f"{site.url}/f.bin", tmp_path / "f.bin", sha256=SHA, policy=once)
    assert not (tmp_path / "f.bin").exists()
    download(f"{site.url}/f.bin", tmp_path / "f.bin", sha256=SHA, policy=once)
    assert site.ranges("/f.bin") == [None, "bytes=20000-"]
    assert leftovers(tmp_path) == ["f.bin"]


def test_part_of_another_address_is_not_continued(serve, tmp_path):
    site = serve({**FILES, "/g.bin": DATA[::-1]}, script={"/g.bin": ["truncate 20000"]})
    once = Policy(attempts=1)
    with pytest.raises(UserError):
        download(f"{site.url}/g.bin", tmp_path / "f.bin", policy=once)
    download(f"{site.url}/f.bin", tmp_path / "f.bin", policy=once)
    assert (tmp_path / "f.bin").read_bytes() == DATA
    assert site.ranges("/f.bin") == [None]


def test_endless_stall_becomes_one_sentence(serve, waits, tmp_path):
    site = serve(dict(FILES), script={"/f.bin": ["stall 10", "stall 0"]})
    with pytest.raises(
        UserError, match=r"could not be downloaded in 2 attempts; the last: the server stalled"
    ):
        policy = Policy(attempts=2, stall_seconds=0.1, sleep=waits.append)
        download(f"{site.url}/f.bin", tmp_path / "f.bin", policy=policy)
    assert not (tmp_path / "f.bin").exists()


def test_drip_counts_as_a_stall(serve, tmp_path):
    site = serve(dict(FILES), script={"/f.bin": ["drip"]})
    with pytest.raises(UserError, match=r"sent \d+ bytes in \d\.\d s"):
        download(f"{site.url}/f.bin", tmp_path / "f.bin", policy=Policy(attempts=1, stall_seconds=0.6))


def test_wrong_bytes_twice_stop_with_both_hashes(serve, policy, tmp_path):
    wrong = hashlib.sha256(bytes(255 - b for b in DATA)).hexdigest()
    site = serve(dict(FILES), script={"/f.bin": ["wrong"] * 4})
    with pytest.raises(UserError, match=f"has sha256 {wrong}, expected {SHA}"):
        download(f"{site.url}/f.bin", tmp_path / "f.bin", sha256=SHA, policy=policy)
    assert len(site.log) == 2 and leftovers(tmp_path) == []


def test_404_is_not_tried_again(serve, policy, waits, tmp_path):
    site = serve({})
    with pytest.raises(UserError, match="HTTP 404"):
        download(f"{site.url}/f.bin", tmp_path / "f.bin", policy=policy)
    assert len(site.log) == 1 and waits == []


def test_too_long_part_is_thrown_away(serve, policy, tmp_path):
    site = serve(dict(FILES), script={"/f.bin": ["truncate 20000"]})
    with pytest.raises(UserError):
        download(f"{site.url}/f.bin", tmp_path / "f.bin", policy=Policy(attempts=1))
    part = tmp_path / ".f.bin.part"
    part.write_bytes(DATA + b"more")
    download(f"{site.url}/f.bin", tmp_path / "f.bin", policy=policy)
    assert (tmp_path / "f.bin").read_bytes() == DATA


def test_refused_connection_and_bad_scheme(tmp_path, policy):
    with pytest.raises(UserError, match="4 attempts"):
        download("http://127.0.0.1:9/f.bin", tmp_path / "f.bin", policy=policy)
    with pytest.raises(UserError, match="no http"):
        download("file:///etc/hostname", tmp_path / "f.bin", policy=policy)


def test_cached_removes_a_file_with_another_hash(tmp_path):
    path = tmp_path / "f.bin"
    assert not cached(path, SHA)
    path.write_bytes(DATA)
    assert cached(path, SHA)
    path.write_bytes(DATA[:-1])
    assert not cached(path, SHA) and not path.exists()


@pytest.mark.parametrize("url", ["http://example.org/a", "ftp://localhost/a", "file:///etc/passwd", "a.deb"])
def test_only_what_nobody_can_change_on_the_way_is_fetched(url, policy, waits, tmp_path):
    with pytest.raises(UserError, match=r"is no https address; give one, or a file"):
        download(url, tmp_path / "f.bin", policy=policy)
    assert waits == [] and leftovers(tmp_path) == []


def test_nor_is_what_a_server_sends_us_on_to(serve, policy, waits, tmp_path):
    site = serve(dict(FILES), script={"/f.bin": ["to http://example.org/f.bin"]})
    with pytest.raises(UserError, match=r"http://example.org/f.bin is no https address"):
        download(f"{site.url}/f.bin", tmp_path / "f.bin", policy=policy)
    assert waits == []
    site = serve(dict(FILES), script={"/g.bin": ["to /f.bin"]})
    site.files["/g.bin"] = b""
    download(f"{site.url}/g.bin", tmp_path / "g.bin", policy=policy)
    assert (tmp_path / "g.bin").read_bytes() == DATA


@pytest.mark.parametrize("step", ["ok", "unsized"])
def test_a_file_larger_than_allowed(serve, policy, waits, tmp_path, step):
    """Whether the server says so or not; what is of the limit's size comes."""
    site = serve(dict(FILES), script={"/f.bin": [step, step]})
    with pytest.raises(UserError, match=r"50,000 bytes, more than 49,999|sends more than 49,999 bytes"):
        download(f"{site.url}/f.bin", tmp_path / "f.bin", policy=replace(policy, most_bytes=49_999))
    assert waits == []
    download(f"{site.url}/f.bin", tmp_path / "f.bin", policy=replace(policy, most_bytes=50_000))
    assert (tmp_path / "f.bin").read_bytes() == DATA
