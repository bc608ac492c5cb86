"""Inputs that ask for more than they look like: refused before they are read, in one sentence."""

from __future__ import annotations

import gzip
import json
import os
import struct
import time
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
import trimesh

from aligncvc import limits
from aligncvc.errors import UserError
from aligncvc.limits import gunzip, read_file, within
from aligncvc.meshes import load_mesh
from aligncvc.objects.convert import check_glb
from aligncvc.objects.sweethome3d import Library
from aligncvc.scene.pictures import picture_fault


def changed_glb(path: Path, **changes: object) -> Path:
    """A triangle, with other parts of its document."""
    mesh = trimesh.Trimesh([[0, 0, 0], [1, 0, 0], [0, 1, 0]], [[0, 1, 2]])
    data = trimesh.Scene(mesh).export(file_type="glb")
    length = struct.unpack_from("<I", data, 12)[0]
    document = json.loads(data[20 : 20 + length]) | changes
    text = json.dumps(document).encode()
    text += b" " * (-len(text) % 4)
    body = struct.pack("<I4s", len(text), b"JSON") + text + data[20 + length :]
    path.write_bytes(b"glTF" + struct.pack("<II", 2, 12 + len(body)) + body)
    return path


@pytest.mark.parametrize("read", [load_mesh, check_glb])
def test_a_billion_vertices_in_a_header(read, tmp_path: Path) -> None:
    accessors = [{"componentType": 5126, "type": "VEC3", "count": 1_000_000_000}]
    with pytest.raises(UserError, match=r"declares more than 500,000,000 values; simplify it"):
        read(changed_glb(tmp_path / "a.glb", accessors=accessors))


@pytest.mark.parametrize("read", [load_mesh, check_glb])
def test_nodes_that_show_each_other_over_and_over(read, tmp_path: Path) -> None:
    """Two to the power of forty triangles in a kilobyte; and a circle, which never ends."""
    doubling = [{"children": [i + 1, i + 1]} for i in range(40)] + [{"mesh": 0}]
    for nodes in (doubling, [{"children": [0]}]):
        path = changed_glb(tmp_path / "a.glb", nodes=nodes, scenes=[{"nodes": [0]}], scene=0)
        with pytest.raises(UserError, match=r"draws more than .* nodes; simplify it"):
            read(path)


def test_a_sound_model_passes_and_a_broken_one_is_called_broken(tmp_path: Path) -> None:
    assert len(load_mesh(changed_glb(tmp_path / "a.glb")).faces) == 1
    for broken in ({"nodes": "none"}, {"accessors": [{"count": "many"}]}, {"scenes": [{"nodes": ["x"]}]}):
        with pytest.raises(UserError):
            load_mesh(changed_glb(tmp_path / "a.glb", **broken))


@pytest.mark.parametrize("uri", ["../../secret.bin", "/dev/zero", "..%2F..%2Fsecret.bin"])
def test_a_model_does_not_read_files_that_lie_elsewhere(uri: str, tmp_path: Path) -> None:
    (tmp_path / "secret.bin").write_bytes(b"secret")
    folder = tmp_path / "set/model"
    folder.mkdir(parents=True)
    document = {"asset": {"version": "2.0"}, "buffers": [{"uri": uri, "byteLength": 6}]}
    (folder / "a.gltf").write_text(json.dumps(document))
    with pytest.raises(UserError, match=r"which lies elsewhere; put it beside the model"):
        load_mesh(folder / "a.gltf")


def test_a_device_or_a_pipe_is_no_model(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.glb")
    for path in (Path("/dev/zero"), tmp_path / "a.glb"):
        with pytest.raises(UserError, match="is no ordinary file"):
            read_file(path)
    (tmp_path / "b.glb").write_bytes(bytes(11))
    with pytest.raises(UserError, match="more than 10 bytes; give a smaller file"):
        read_file(tmp_path / "b.glb", 10)


def test_archives_that_unpack_to_far_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for function in (limits.read_members, limits.require_small_zip, limits.gunzip):
        monkeypatch.setattr(function, "__defaults__", (1 << 20,))
    with pytest.raises(UserError, match="unpacks to more than 1,048,576 bytes"):
        gunzip(gzip.compress(bytes(2 << 20)))
    assert gunzip(gzip.compress(b"small")) == b"small"
    bomb = tmp_path / "bomb.sh3f"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("PluginFurnitureCatalog.properties", bytes(2 << 20))
    assert bomb.stat().st_size < 10_000
    with pytest.raises(UserError, match=r"bomb.sh3f unpacks to more"):
        Library(bomb)
    np.savez_compressed(tmp_path / "steps.npz", views=np.zeros(2 << 20, np.uint8))
    with pytest.raises(UserError, match=r"steps.npz unpacks to more"):
        limits.require_small_zip(tmp_path / "steps.npz")


def test_a_member_gives_no_more_than_it_declares(tmp_path: Path) -> None:
    """The size in an archive's own list is a lie: the rest is not unpacked."""
    path = tmp_path / "lie.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a", bytes(1 << 20))
    data = path.read_bytes()
    path.write_bytes(data.replace(struct.pack("<I", 1 << 20), struct.pack("<I", 100)))
    with zipfile.ZipFile(path) as archive:
        try:
            read = limits.read_members(archive, ["a"])["a"]
        except zipfile.BadZipFile:  # its checksum differs
            read = b""
    assert len(read) <= 100


def test_a_picture_of_a_billion_pixels() -> None:
    """A PNG of some kilobytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", 40_000, 40_000, 8, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(1 << 20)))
    assert "pixels" in str(picture_fault(data + chunk(b"IEND", b"")))


def test_reading_ends_in_time() -> None:
    with pytest.raises(UserError, match=r"a.glb took longer than 0.05 s to read"), within(0.05, "a.glb"):
        while True:
            time.sleep(0.01)
    with within(0.05, "a.glb"):
        pass
    time.sleep(0.1)  # nothing comes afterwards
