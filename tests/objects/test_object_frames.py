"""GObjaverse's frames: geometry of what is read, lists with hashes, the objects stage, resuming."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from object_jobs import fetch_set

from aligncvc.config.objects import ObjectSet
from aligncvc.errors import UserError, cli
from aligncvc.objects import frames as frames_module
from aligncvc.objects.frames import main
from aligncvc.objects.gobjaverse import (
    TO_UNIT_SPHERE,
    frames_hash,
    instances,
    read_exr,
    read_views,
    ring,
    write_views,
)
from aligncvc.objects.indexes import read_index
from aligncvc.objects.listing import read_list, read_manifest
from aligncvc.scene.camera_formats import to_gobjaverse
from aligncvc.scene.cameras import orbit, spherical_deg

DATA = Path(__file__).parent / "data/gobjaverse"
CHAIR = DATA / "0/10022"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    shutil.copytree(DATA, tmp_path / "tree")
    return tmp_path / "tree"


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["frames", *map(str, arguments)])
    try:
        cli(main)
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


def test_ring_is_counter_clockwise_from_the_first_frame() -> None:
    views = read_views(CHAIR, 8, 32)
    azimuth, elevation, distance = spherical_deg(views.cameras)
    torch.testing.assert_close((azimuth - 90) % 360, torch.arange(8) * 45.0, atol=1e-3, rtol=0)
    torch.testing.assert_close(elevation, torch.full((8,), 10.0), atol=1e-3, rtol=0)
    torch.testing.assert_close(distance, torch.full((8,), 3.0), atol=1e-4, rtol=0)
    stored = json.loads((CHAIR / "campos_512_v4/00000/00000.json").read_text())
    assert np.linalg.norm(stored["origin"]) == pytest.approx(3.0 / TO_UNIT_SPHERE, rel=1e-5)
    four = read_views(CHAIR, 4, 32)
    assert torch.equal(four.rgba, views.rgba[::2])


def test_a_ring_is_found_among_other_cameras() -> None:
    """40 views like the dataset's: a ring of 24, two poles, another ring of 12, and two strays."""
    first = orbit([(90 - 15 * i) % 360 for i in range(24)], 5, distance=1.7, fov_y_deg=39.6, size_px=8)
    rest = orbit([0, 180, *(30 * i for i in range(12)), 7, 99], [89, -89, *[-5] * 12, 40, 40],
                 distance=1.7, fov_y_deg=39.6, size_px=8)  # fmt: skip
    cameras = type(first)(torch.cat([first.c2w, rest.c2w]), 39.6, 8, 8)
    assert ring(cameras, 24) == [0, *range(23, 0, -1)]
    assert ring(cameras[list(range(24, 40))], 12) == list(range(2, 14))
    with pytest.raises(UserError, match="none of the 40 views starts a ring of 16"):
        ring(cameras, 16)


def surface(views) -> torch.Tensor:
    """(V, 3, H, W) world points by depth along z."""
    x, y, z = (views.cameras.c2w[:, :3, i, None, None] for i in range(3))
    origins = views.cameras.c2w[:, :3, 3, None, None]
    f, side = views.cameras.focal_px, views.cameras.width
    pixel = (torch.arange(side) + 0.5 - side / 2) / f
    depth = views.depth[:, None]
    return origins + depth * (pixel * x + pixel[:, None] * y + z)


def test_depth_cameras_and_normals_describe_one_surface() -> None:
    """Points of neighbouring pixels span the plane that the normal stands on, and it faces the camera."""
    views = read_views(CHAIR, 8, 32)
    points, seen = surface(views), views.depth > 0
    assert float(points.permute(0, 2, 3, 1)[seen].norm(dim=-1).max()) < 1.05, "inside the unit sphere"
    right, down = (
        points[:, :, 1:-1, 2:] - points[:, :, 1:-1, :-2],
        points[:, :, 2:, 1:-1] - points[:, :, :-2, 1:-1],
    )
    by_depth = F.normalize(torch.cross(down, right, dim=1), dim=1)
    inner = F.avg_pool2d(seen.float(), 3, 1) > 0.99  # no edge of the object nearby
    smooth = (right.norm(dim=1) < 0.3) & (down.norm(dim=1) < 0.3)
    agreement = (by_depth * views.normals[:, :, 1:-1, 1:-1]).sum(1)[inner & smooth]
    assert len(agreement) > 200 and float(agreement.median()) > 0.98
    facing = ((points - views.cameras.positions[:, :, None, None]) * views.normals).sum(1)[seen]
    assert float((facing < 0).float().mean()) > 0.97


def test_one_view_s_points_lie_on_another_s_surface() -> None:
    """Visible points of view 0 fall into view 1 at the depth that view 1 has there."""
    views = read_views(DATA / "0/10023", 8, 32)
    points = surface(views)[0].flatten(1)[:, (views.depth[0] > 0).flatten()]
    w2c = views.cameras.w2c[1]
    local = w2c[:3, :3] @ points + w2c[:3, 3:]
    pixel = (local[:2] / local[2] * views.cameras.focal_px + 16).floor().long().clamp(0, 31)
    there = views.depth[1][pixel[1], pixel[0]]
    assert float(((local[2] - there).abs() < 0.1).float().mean()) > 0.5
    assert float((local[2] > there - 0.15)[there > 0].float().mean()) > 0.95, (
        "seldom in front of what is seen"
    )


def test_unity_s_axes_are_those_of_the_dataset_s_own_script(tmp_path: Path) -> None:
    """richdreamer's process_unity_dataset.py, in OpenCV's channel order: x = -n[2], y = -n[0], z = n[1]."""
    views = read_views(CHAIR, 4, 32)
    one = type(views)(views.rgba[:1], views.cameras[0], views.depth[:1] * 0 + 3, views.normals[:1] * 0)
    one.normals[:, 0], one.normals[:, 1], one.normals[:, 2] = 0.6, 0.0, 0.8
    write_views(tmp_path, one)
    n = cv2.imread(str(tmp_path / "campos_512_v4/00000/00000_nd.exr"), cv2.IMREAD_UNCHANGED)
    world = np.stack([-n[..., 2], -n[..., 0], n[..., 1]], -1)
    np.testing.assert_allclose(world, np.broadcast_to([0.6, 0.0, 0.8], world.shape), atol=1e-3)
    colours, alpha = read_exr(tmp_path / "campos_512_v4/00000/00000_nd.exr")
    assert colours.shape == (3, 32, 32) and float(alpha[0, 0]) == pytest.approx(3 / TO_UNIT_SPHERE, rel=1e-3)


def test_smaller_sizes_are_means_over_what_is_there() -> None:
    full, half = read_views(CHAIR, 4, 32), read_views(CHAIR, 4, 16)
    torch.testing.assert_close(half.alpha, F.avg_pool2d(full.alpha, 2))
    solid = F.avg_pool2d((full.depth > 0).float()[:, None], 2)[:, 0] == 1
    torch.testing.assert_close(half.depth[solid], F.avg_pool2d(full.depth[:, None], 2)[:, 0][solid])
    lengths = half.normals.norm(dim=1)
    assert bool(((lengths - 1).abs() < 1e-4).logical_or(lengths < 1e-4).all())
    on_white = F.avg_pool2d(full.on_white(), 2)
    torch.testing.assert_close(half.on_white(), on_white, atol=1e-4, rtol=0)
    with pytest.raises(UserError, match=r"do not reduce to render.size_px 24 by a whole number"):
        read_views(CHAIR, 4, 24)


def test_images_without_alpha_are_cut_out_by_their_depth(tree: Path) -> None:
    before = read_views(CHAIR, 4, 32)
    for path in tree.glob("0/10022/campos_512_v4/*/*.png"):
        image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        cv2.imwrite(str(path), image[..., :3])
    after = read_views(tree / "0/10022", 4, 32)
    assert torch.equal(after.alpha[:, 0], (before.depth > 0).float())


@pytest.mark.parametrize(("spoil", "message"), [
    (lambda f: (f / "00003/00003_nd.exr").unlink(), r"lacks 00003_nd\.exr; download the object again"),
    (lambda f: (f / "00003/00003_nd.exr").write_bytes(b"no exr"), r"00003_nd\.exr is not a readable EXR"),
    (lambda f: (f / "00003/00003.json").write_text("{"), r"00003\.json is not a readable camera"),
    (lambda f: (f / "00003/00003.json").write_text("{}"), r"camera lacks or spoils a key"),
    (lambda f: (f / "00003/00003.png").write_bytes(b""), r"00003\.png is not a readable image"),
    (lambda f: shutil.rmtree(f / "00003"), r"none of the 7 views starts a ring of 8"),
    (shutil.rmtree, r"has no frames below campos_512_v4"),
])  # fmt: skip
def test_a_spoilt_object_is_one_sentence(tree: Path, spoil, message: str) -> None:
    spoil(tree / "0/10022/campos_512_v4")
    with pytest.raises(UserError, match=message) as error:
        read_views(tree / "0/10022", 8, 32)
    assert "\n" not in str(error.value)


def test_list_hashes_each_object_and_goes_on_where_it_stopped(
    tree: Path, tmp_path: Path, monkeypatch, capsys
) -> None:
    out = tmp_path / "list.tsv"
    (tree / "1/5001/campos_512_v4/00002/00002.png").rename(tmp_path / "kept.png")
    assert run(monkeypatch, "list", tree, "--out", out) == 0
    said = capsys.readouterr().out
    assert "left out" in said and "00002.png" in said and "2 objects, 1 incomplete ones left out" in said
    rows = read_list(out)
    assert [(r.id, r.path) for r in rows] == [
        ("gobjaverse-0-10022", "0/10022"),
        ("gobjaverse-0-10023", "0/10023"),
    ]
    assert rows[0].sha256 == frames_hash(CHAIR) != rows[1].sha256

    (tmp_path / "kept.png").rename(tree / "1/5001/campos_512_v4/00002/00002.png")
    hashed: list[Path] = []
    genuine = frames_module.frames_hash
    monkeypatch.setattr(frames_module, "frames_hash", lambda folder: hashed.append(folder) or genuine(folder))
    assert run(monkeypatch, "list", tree, "--out", out) == 0
    assert hashed == [tree / "1/5001"] and len(read_list(out)) == 3
    assert run(monkeypatch, "list", tmp_path, "--out", out) == 2
    assert "has no GObjaverse objects" in capsys.readouterr().err


def test_objects_stage_checks_frames_and_resumes(tree: Path, tmp_path: Path, monkeypatch) -> None:
    run(monkeypatch, "list", tree, "--out", tmp_path / "list.tsv")
    objects = ObjectSet(source="gobjaverse", path=str(tree), list=str(tmp_path / "list.tsv"))
    rows = fetch_set(objects, tmp_path / "out")
    assert [r.status for r in rows] == ["ok"] * 3 and rows[0].path == "gobjaverse-0-10022.frames.json"
    assert read_index(tmp_path / "out" / rows[0].path) == tree / "0/10022"
    assert read_manifest(tmp_path / "out/manifest.tsv") == rows

    def refuse(folder: Path) -> str:
        raise AssertionError(f"{folder} was hashed again")

    with monkeypatch.context() as patch:
        patch.setattr(frames_module, "frames_hash", refuse)
        assert fetch_set(objects, tmp_path / "out") == rows
    (tree / "0/10022/campos_512_v4/00000/00000.png").write_bytes(b"another")
    rows = fetch_set(objects, tmp_path / "out")
    assert [r.status for r in rows] == ["failed", "ok", "ok"] and "the list says" in rows[0].reason
    assert not (tmp_path / "out/gobjaverse-0-10022.frames.json").exists()
    with pytest.raises(UserError, match="needs a `list` of frames"):
        fetch_set(ObjectSet(source="gobjaverse", path=str(tree)), tmp_path / "out")


def test_written_cameras_read_back() -> None:
    """The camera files of the fixture are what the converter writes for the cameras that are read."""
    views = read_views(CHAIR, 8, 32)
    c2w = views.cameras.c2w.clone()
    c2w[:, :3, 3] /= TO_UNIT_SPHERE
    written = to_gobjaverse(type(views.cameras)(c2w, views.cameras.fov_y_deg, 32, 32))
    stored = json.loads((CHAIR / "campos_512_v4/00000/00000.json").read_text())
    for key, value in written[0].items():
        assert stored[key] == pytest.approx(value, abs=1e-5), key
    assert instances(DATA) == ["0/10022", "0/10023", "1/5001"]
