"""Objects out of published archives, or of a mirror: what is verified, what is refused, what is kept."""

from __future__ import annotations

import hashlib
import io
import tarfile
import zipfile
from pathlib import Path

import pytest
import trimesh
from object_jobs import fetch_set

from aligncvc.config.objects import ObjectSet
from aligncvc.errors import UserError
from aligncvc.files import sha256_file
from aligncvc.objects import published
from aligncvc.objects.listing import ObjectRow, read_list, write_list
from aligncvc.objects.published import unpacked
from aligncvc.objects.sources import Context

BOX = trimesh.creation.box(extents=(1, 2, 3)).export(file_type="glb")


def tar(files: dict[str, bytes], link: str | None = None) -> bytes:
    """A .tar.gz, with a symbolic link of that name to a file outside."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        if link:
            info = tarfile.TarInfo(link)
            info.type, info.linkname = tarfile.SYMTYPE, "/etc/hostname"
            archive.addfile(info)
    return out.getvalue()


def zipped(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return out.getvalue()


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def pack(folder: Path, *rows: tuple[str, str, str, str], up: str = "") -> ObjectSet:
    """A set of (id, path in the mirror, source, hash of the published file); in the mirror all are BOX."""
    listed = [
        ObjectRow(name, name, path, source, sha(BOX), "CC0-1.0", "me", "train", up, source_sha256=published)
        for name, path, source, published in rows
    ]
    write_list(folder / "pack.tsv", listed)
    assert read_list(folder / "pack.tsv") == listed
    return ObjectSet(source="published", list=str(folder / "pack.tsv"))


def test_a_repository_s_archive_is_fetched_once_and_its_files_are_verified(
    cube_obj, tmp_path, serve, policy
) -> None:
    files = {f"repo-0123/models/{name}": data for name, data in cube_obj.items()}
    files |= {"repo-0123/box.glb": BOX, "repo-0123/page.html": b"<p>", "repo-0123/film.bin.mp4": b"film"}
    site = serve({"/repo.tar.gz": tar(files, link="repo-0123/linked.glb")})
    at = f"{site.url}/repo.tar.gz"
    objects = pack(
        tmp_path,
        ("cube", "cube.glb", f"{at}#models/cube.obj", sha(cube_obj["cube.obj"])),
        ("box", "box.glb", f"{at}#box.glb", sha(BOX)),
        ("other", "other.glb", f"{at}#box.glb", "0" * 64),
        ("gone", "gone.glb", f"{at}#gone.glb", ""),
        ("linked", "linked.glb", f"{at}#linked.glb", ""),
        ("out", "out.glb", f"{at}#../../pack.tsv", ""),
        ("here", "here.glb", "somebody/repo@0123", ""),
        up="z",
    )
    rows = {row.id: row for row in fetch_set(objects, tmp_path / "out", cache=tmp_path / "c", policy=policy)}
    assert {name for name, row in rows.items() if row.status == "ok"} == {"cube", "box"}
    # The published OBJ is converted here, turned by its list's `up` and with its texture. It has other bytes
    # than the mirror's GLB, whose hash stands in the list.
    scene = trimesh.load_scene(tmp_path / "out/cube.glb")
    assert scene.extents == pytest.approx([2, 4, 2])
    images = [getattr(mesh.visual.material, "baseColorTexture", None) for mesh in scene.geometry.values()]
    assert [image.size for image in images if image is not None] == [(512, 384)]
    assert rows["cube"].sha256 == sha256_file(tmp_path / "out/cube.glb") != sha(BOX)
    assert rows["box"].sha256 == sha(BOX)
    assert "the list's source_sha256 is 0000" in rows["other"].reason
    for name in ("gone", "linked"):
        assert f"has no file {name}.glb" in rows[name].reason
    for name in ("out", "here"):
        assert "set `path` of the object set" in rows[name].reason
    kept = [path.name for path in (tmp_path / "c/published").rglob("*") if path.is_file()]
    assert sorted(kept) == ["box.glb", "cube.mtl", "cube.obj", "wood.png"], "pages, films and the archive go"
    again = fetch_set(objects, tmp_path / "again", cache=tmp_path / "c", policy=policy)
    assert [row.sha256 for row in again] == [row.sha256 for row in rows.values()]
    assert len(site.log) == 1, "the second set takes the archive from the cache"


def test_a_scan_comes_as_a_zip_in_gazebo_s_layout(cube_obj, tmp_path, serve, policy) -> None:
    files = {
        "meshes/model.obj": cube_obj["cube.obj"], "meshes/cube.mtl": cube_obj["cube.mtl"],
        "materials/textures/wood.png": cube_obj["wood.png"],
    }  # fmt: skip
    site = serve({"/Cube.zip": zipped(files)})
    objects = pack(tmp_path, ("cube", "", f"{site.url}/Cube.zip#meshes/model.obj", ""))
    (row,) = fetch_set(objects, tmp_path / "out", cache=tmp_path / "c", policy=policy)
    assert row.status == "ok", row.reason


def test_a_mirror_is_verified_by_the_list_s_hash_and_nothing_is_fetched(tmp_path) -> None:
    (tmp_path / "mirror/deep").mkdir(parents=True)
    (tmp_path / "mirror/deep/box.glb").write_bytes(BOX)
    other = trimesh.creation.box(extents=(1, 1, 1)).export(file_type="glb")
    (tmp_path / "mirror/other.glb").write_bytes(other)
    nowhere = "https://nowhere.invalid/a.tar.gz#a.glb"
    objects = pack(
        tmp_path,
        ("box", "deep/box.glb", nowhere, ""),
        ("other", "other.glb", nowhere, ""),
        ("gone", "gone.glb", nowhere, ""),
    )  # fmt: skip
    mirrored = objects.model_copy(update={"path": str(tmp_path / "mirror")})
    box, other_row, gone = fetch_set(mirrored, tmp_path / "out", cache=tmp_path / "c")
    assert (tmp_path / "out/box.glb").read_bytes() == BOX and box.status == "ok"
    assert f"differs from the list's {sha(BOX)}" in other_row.reason
    assert "gone.glb is missing" in gone.reason


@pytest.mark.parametrize(("name", "archive", "said"), [
    ("/a.tar.gz", tar({"../evil.glb": BOX}), "outside of its folder"),
    ("/a.tar.gz", tar({"/evil.glb": BOX}), "outside of its folder"),
    ("/a.zip", zipped({"a/../../evil.glb": BOX}), "outside of its folder"),
    ("/a.tar.gz", tar({"box.glb": BOX, "box.bin": bytes(5000)}), "unpacks to more than"),
    ("/a.zip", zipped({"box.glb": BOX, "box.bin": bytes(5000)}), "unpacks to more than"),
    ("/a.tar.gz", tar({"box.glb": BOX})[:-300], "cannot be unpacked"),
    ("/a.zip", b"no archive", "cannot be unpacked"),
])  # fmt: skip
def test_bad_archives_end_in_a_sentence_and_leave_nothing(
    name, archive, said, tmp_path, serve, policy, monkeypatch
) -> None:
    monkeypatch.setattr(published, "UNPACKED_BYTES", 4000)
    site = serve({name: archive})
    with pytest.raises(UserError, match=said):
        unpacked(site.url + name, Context(tmp_path / "c", policy))
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.name != ".lock"]


def test_archives_come_by_https_alone(tmp_path, policy) -> None:
    with pytest.raises(UserError, match="no https address"):
        unpacked("http://example.org/a.zip", Context(tmp_path, policy))
