"""Objaverse through the real `objaverse` package against a loopback copy of the hub's layout."""

from __future__ import annotations

import gzip
import hashlib
import json
from pathlib import Path

import pytest
import trimesh
from object_jobs import fetch_set

from aligncvc.config.objects import ObjectSet
from aligncvc.errors import UserError
from aligncvc.objects.listing import ObjectRow, write_list
from aligncvc.objects.objaverse_source import dependable, uid_rows
from aligncvc.objects.sources import Context

pytest.importorskip("objaverse")
UIDS = ["aaa1", "bbb2", "ccc3"]
GLBS = {uid: trimesh.creation.box(extents=(1, 1, n)).export(file_type="glb") for n, uid in enumerate(UIDS, 1)}


@pytest.fixture
def hub() -> dict[str, bytes]:
    """The hub's files: index, annotations, GLBs."""
    annotations = {
        "aaa1": {"license": "by", "user": {"username": "ann", "displayName": "Ann A."}},
        "bbb2": {"license": "cc0", "user": {"username": "bob"}},
        "ccc3": {"license": "by-nc", "user": {}},
    }
    files = {f"/glbs/000-001/{uid}.glb": data for uid, data in GLBS.items()}
    index = {uid: f"glbs/000-001/{uid}.glb" for uid in UIDS}
    files["/object-paths.json.gz"] = gzip.compress(json.dumps(index).encode())
    files["/metadata/000-001.json.gz"] = gzip.compress(json.dumps(annotations).encode())
    return files


@pytest.fixture
def uids(tmp_path: Path) -> Path:
    (tmp_path / "uids.txt").write_text("\n".join(UIDS))
    return tmp_path / "uids.txt"


@pytest.fixture
def fetch(tmp_path, policy):
    """fetch(site, list, out=...) runs the source against a site."""

    def run(site, uids: Path, out: str = "out", **settings):
        objects = ObjectSet(source="objaverse", list=str(uids), path=site.url, **settings)
        return fetch_set(objects, tmp_path / out, cache=tmp_path / "cache", policy=policy)

    return run


def test_uid_list_through_a_bad_server(serve, hub, uids, fetch, tmp_path):
    script = {
        "/object-paths.json.gz": ["503"],
        "/glbs/000-001/aaa1.glb": ["truncate 300", "503"],
        "/glbs/000-001/bbb2.glb": ["stall 100"],
        "/metadata/000-001.json.gz": ["truncate 10"],
    }
    site = serve(hub, script=script)
    rows = fetch(site, uids)
    assert [(r.id, r.status, r.licence, r.creator) for r in rows] == [
        ("aaa1", "ok", "CC-BY-4.0", "Ann A."),
        ("bbb2", "ok", "CC0-1.0", "bob"),
        ("ccc3", "ok", "CC-BY-NC-4.0", "unknown"),
    ]
    for row in rows:
        data = (tmp_path / "out" / row.path).read_bytes()
        assert data == GLBS[row.id] and hashlib.sha256(data).hexdigest() == row.sha256
    assert site.ranges("/glbs/000-001/aaa1.glb") == [None, "bytes=300-", "bytes=300-"]
    assert len(site.ranges("/object-paths.json.gz")) == 2


def test_each_object_has_its_own_status(serve, hub, uids, fetch):
    uids.write_text("aaa1\nunknown9\nbbb2\nccc3\n")
    site = serve(hub, script={"/glbs/000-001/bbb2.glb": ["503"] * 9})
    hub["/glbs/000-001/ccc3.glb"] = hub["/glbs/000-001/ccc3.glb"][:-40]  # complete on the wire, cut as a GLB
    rows = {row.id: row for row in fetch(site, uids)}
    assert {i: row.status for i, row in rows.items()} == {
        "aaa1": "ok", "unknown9": "failed", "bbb2": "failed", "ccc3": "failed",
    }  # fmt: skip
    assert "no object with the uid unknown9" in rows["unknown9"].reason
    assert "HTTP 503" in rows["bbb2"].reason and "cut short" in rows["ccc3"].reason


def test_failed_objects_succeed_later_and_good_ones_are_not_fetched_again(serve, hub, uids, fetch):
    site = serve(hub, script={"/glbs/000-001/bbb2.glb": ["503"] * 4})
    assert [r.status for r in fetch(site, uids)] == ["ok", "failed", "ok"]
    assert [r.status for r in fetch(site, uids, out="again")] == ["ok", "ok", "ok"]
    assert len(site.ranges("/glbs/000-001/aaa1.glb")) == 1


def test_damaged_cache_is_fetched_again(serve, hub, uids, fetch, tmp_path):
    site = serve(hub)
    fetch(site, uids)
    cached = next((tmp_path / "cache").rglob("aaa1.glb"))
    cached.write_bytes(GLBS["bbb2"])  # a good GLB, but another one than was recorded
    row = fetch(site, uids, out="again")[0]
    assert row.status == "ok" and row.sha256 == hashlib.sha256(GLBS["aaa1"]).hexdigest()


def test_listed_sha256_is_checked(serve, hub, fetch, tmp_path):
    site = serve(hub)
    wrong, right = "1" * 64, hashlib.sha256(GLBS["bbb2"]).hexdigest()
    rows = [
        ObjectRow("one", "one", "", "aaa1", wrong, "CC-BY-4.0", "Ann", "train"),
        ObjectRow("two", "two", "", "bbb2", right, "CC0-1.0", "Bob", "train"),
    ]
    write_list(tmp_path / "list.tsv", rows)
    one, two = fetch(site, tmp_path / "list.tsv")
    assert one.status == "failed" and f"expected {wrong}" in one.reason
    assert two.status == "ok" and two.creator == "Bob"
    assert site.ranges("/metadata/000-001.json.gz") == []  # the list says it all


def test_broken_index_is_not_kept(serve, hub, uids, fetch, tmp_path):
    site = serve(hub, script={"/object-paths.json.gz": ["wrong", "wrong", "wrong"]})
    assert [r.status for r in fetch(site, uids)] == ["failed"] * 3
    assert [r.status for r in fetch(site, uids)] == ["ok"] * 3


def test_package_is_left_as_it_was(tmp_path, policy):
    import objaverse

    before = objaverse.BASE_PATH, objaverse._VERSIONED_PATH, objaverse.urllib
    with pytest.raises(RuntimeError), dependable(Context(tmp_path, policy)) as package:
        assert str(tmp_path) in package._VERSIONED_PATH
        raise RuntimeError
    assert (objaverse.BASE_PATH, objaverse._VERSIONED_PATH, objaverse.urllib) == before


def test_without_a_mirror_the_packages_own_addresses_are_used(tmp_path, policy, monkeypatch):
    seen = []
    monkeypatch.setattr(
        "aligncvc.objects.objaverse_source.download",
        lambda url, path, policy: seen.append(url) or path.touch(),
    )
    with pytest.raises(UserError), dependable(Context(tmp_path, policy)) as package:
        package.load_objects(["aaa1"])
    assert len(seen) == 1 and seen[0].endswith("/objaverse/resolve/main/object-paths.json.gz")


def test_uid_lists(tmp_path):
    for text in ("aaa1\nbbb2.glb\naaa1\n", '["aaa1", "bbb2"]', "id\tsource\naaa1\taaa1\nbbb2\t\n"):
        (tmp_path / "l").write_text(text)
        assert [row.source for row in uid_rows(tmp_path / "l")] == ["aaa1", "bbb2"]
    for text in ("", "../../etc/passwd\n", "[1,"):
        (tmp_path / "l").write_text(text)
        with pytest.raises(UserError):
            uid_rows(tmp_path / "l")
    with pytest.raises(UserError, match="no uid list"):
        uid_rows(tmp_path / "absent")
