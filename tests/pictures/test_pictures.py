"""Published pictures through the first two stages: masks, framing, poses, order, what is wrong in them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from picture_world import NAMES, block_mesh, normalised, render_job, stages, world

from aligncvc.config.jobs.objects import ObjectsJob
from aligncvc.config.jobs.render import RenderJob
from aligncvc.config.objects import ObjectSet
from aligncvc.errors import UserError
from aligncvc.meshes import draw_mesh
from aligncvc.objects.fetch import fetch_set
from aligncvc.objects.pictures import foreground, load_scan, normalisation, picture_files, read_pictures
from aligncvc.paper.pair_results import between_rig, degrees, held_out_view
from aligncvc.render.results import read_status
from aligncvc.render.run import render_set
from aligncvc.scene.cameras import spherical_deg
from aligncvc.scene.renderset import RenderSet
from aligncvc.scene.rigs import Rig, half_width
from aligncvc.scene.views import save_png, view_facts


@pytest.fixture(autouse=True)
def no_blender(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("Blender was started")

    monkeypatch.setattr("aligncvc.render.run.Worker", refuse)


def test_background_is_white_from_the_edges_and_pure_white_within() -> None:
    picture = np.full((3, 40, 60), 1.0, np.float32)
    picture[:, 5:35, 10:50] = 0.4
    picture[:, 10:20, 15:25] = 250 / 255  # a white part: nearly white on average
    picture[:, 10:20, 30:40] = 1.0  # a hole
    picture[:, 25:28, 30:33] = 1.0  # a highlight: too small for a hole
    picture[:, 0:3, 0:3] = 245 / 255  # the background's noise
    picture[:, 36, 50:55] = 239 / 255  # darker than noise: it belongs to the object
    found = foreground(picture)
    expected = np.zeros((40, 60), bool)
    expected[5:35, 10:50] = True
    expected[10:20, 30:40] = False
    expected[36, 50:55] = True
    assert np.array_equal(found, expected)
    assert not foreground(np.ones((3, 8, 8), np.float32)).any()
    assert foreground(np.zeros((3, 8, 8), np.float32)).all()


@pytest.mark.parametrize("chosen", [0, 2])
def test_views_show_the_mesh_at_the_pictures_cameras(tmp_path: Path, chosen: int) -> None:
    """What is drawn of the normalised mesh with the views' own cameras is what they show, colours too."""
    protocol, _, _ = world(tmp_path, chosen)
    views = read_pictures(tmp_path / "mirror/tower", protocol.render)
    drawn = draw_mesh(normalised(block_mesh("tower")), views.cameras, 1.0, supersample=4)
    assert views.rgba.shape == (5, 4, 64, 64)
    assert float((views.alpha - drawn.alpha).abs().mean()) < 0.012
    assert float((views.on_white() - drawn.rgb).abs().mean()) < 0.01
    centres = [(a * torch.arange(64.0)).sum((1, 2, 3)) / a.sum((1, 2, 3)) for a in (views.alpha, drawn.alpha)]
    torch.testing.assert_close(*centres, atol=0.2, rtol=0)  # of columns, in pixels
    azimuth, elevation, distance = spherical_deg(views.cameras)
    order = [0, 1, 2, 3, 4] if chosen == 0 else [2, 0, 1, 3, 4]
    published = torch.tensor([315.0, 270.0, 0.0, 90.0, 180.0])
    torch.testing.assert_close(azimuth, published[order], atol=1e-3, rtol=0)
    assert float(elevation[order.index(0)]) == pytest.approx(15.04, abs=0.01)
    covered = half_width(float(distance[0]), views.cameras.fov_y_deg)
    assert covered == pytest.approx(half_width(3.0, 39.6)), "objects are as large as in renders"


def test_stages_make_a_render_set_with_a_rig_apart(tmp_path: Path) -> None:
    protocol = stages(tmp_path)
    renders = RenderSet(tmp_path / "renders/eval/manifest.tsv", 64, Rig(azimuths_deg=[0, 90, 180, 270]))
    assert renders.ids == NAMES
    posed = renders.load("tower")
    images, cameras = posed.rig_from(0)
    assert images.shape == (1, 3, 64, 64) and torch.equal(images[0], posed.views.on_white()[0])
    azimuth, elevation, distance = (x.tolist() for x in spherical_deg(cameras))
    assert azimuth == pytest.approx([0, 90, 180, 270], abs=1e-3) and cameras.fov_y_deg == 39.6
    assert elevation == pytest.approx([10] * 4, abs=1e-3) and distance == pytest.approx([3] * 4)
    _, turned = posed.ring_from(0, range(5))
    assert float(spherical_deg(turned)[0][0]) % 360 == pytest.approx(0, abs=1e-3), "the input at azimuth 0"
    with pytest.raises(UserError, match="tower comes as published pictures, which have no ring to train on"):
        posed.rig_from(1)
    facts = view_facts(tmp_path / "renders/eval/tower")
    assert facts["pictures"] == [0, 1, 2, 3, 4] and facts["licence"] == "CC-BY-4.0"
    assert facts["normalisation"] == normalisation(block_mesh("tower"))
    assert protocol.render.rig_indices == [0]

    before = (tmp_path / "renders/eval/tower/cameras.json").stat().st_mtime_ns
    render_set(
        render_job(protocol), tmp_path / "objects/eval/manifest.tsv", tmp_path / "renders/eval", workers=1
    )
    assert (tmp_path / "renders/eval/tower/cameras.json").stat().st_mtime_ns == before


def test_another_rig_and_its_lens(tmp_path: Path) -> None:
    """A generator with more views, trained with other cameras: poses and input are framed as it expects."""
    stages(tmp_path)
    manifest = tmp_path / "renders/eval/manifest.tsv"
    rig = Rig(azimuths_deg=[0, 45, 180], distance=4.7, fov_y_deg=33.8)
    posed = RenderSet(manifest, 64, rig).load("table")
    image, cameras = posed.rig_from(0)
    assert len(cameras) == 3
    assert half_width(3.0, cameras.fov_y_deg) == pytest.approx(half_width(4.7, 33.8))
    assert (1 - image).sum() < 0.8 * (1 - posed.views.on_white()[:1]).sum(), "the object is smaller"
    plain = RenderSet(manifest).load("table")
    assert len(plain.rig_cameras) == 4, "the protocol's rig where no generator's is named"
    torch.testing.assert_close(plain.with_rig(rig).rig_cameras.c2w, cameras.c2w)
    assert plain.with_rig(rig).rig_cameras.fov_y_deg == pytest.approx(39.6)


def test_pictures_and_protocol_have_to_fit(tmp_path: Path) -> None:
    protocol, objects, _ = world(tmp_path)
    fetch_set(objects, tmp_path / "objects")
    pictures = protocol.render.pictures
    assert pictures is not None

    def reason(where: str, job: RenderJob, objects: str = "objects") -> str:
        with pytest.raises(UserError, match=r"of . objects failed"):
            render_set(job, tmp_path / objects / "manifest.tsv", tmp_path / where, workers=1)
        status = read_status(tmp_path / where, "tower")
        assert status is not None and status.stage == "source" and "\n" not in status.reason
        return status.reason

    none = render_job(protocol, pictures=None, ring_views=4)
    assert "evaluate it by a protocol with render.pictures" in reason("none", none)
    small = render_job(protocol, pictures=pictures.model_copy(update={"width": 100}))
    assert "0.png has 160x116 pixels and the protocol's camera 100x116" in reason("small", small)
    shorter = pictures.model_copy(update={"positions": pictures.positions[:4]})
    few = render_job(protocol, pictures=shorter, ring_views=4)
    assert "has 5 pictures and the protocol 4 cameras" in reason("few", few)
    (tmp_path / "meshes").mkdir()
    block_mesh("tower").export(tmp_path / "meshes/tower.glb")
    meshes = ObjectSet(source="folder", path=str(tmp_path / "meshes"))
    fetch_set(ObjectsJob(set="eval", objects=meshes), tmp_path / "other")
    asked = reason("mesh", render_job(protocol), "other")
    assert "it has no pictures, which render.pictures asks for; set source: pictures" in asked


def test_objects_stage_checks_and_resumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, objects, _ = world(tmp_path)
    rows = fetch_set(objects, tmp_path / "out")
    assert [(r.status, r.path) for r in rows] == [("ok", f"{name}.pictures.json") for name in NAMES]
    with monkeypatch.context() as patch:
        patch.setattr(
            "aligncvc.objects.pictures.sha256_file", lambda path: pytest.fail(f"{path} hashed again")
        )
        assert fetch_set(objects, tmp_path / "out") == rows
    save_png(tmp_path / "mirror/tower/3.png", torch.zeros(3, 116, 160))
    rows = fetch_set(objects, tmp_path / "out")
    assert [r.status for r in rows] == ["failed", "ok"] and "the list says" in rows[0].reason
    (tmp_path / "mirror/table/2.png").unlink()
    assert "number them from 0" in fetch_set(objects, tmp_path / "out")[1].reason
    with pytest.raises(UserError, match=r"has no pictures named by number \(0.jpg, 1.jpg"):
        picture_files(tmp_path)


@pytest.mark.parametrize(
    "arrays",
    [
        {"v": np.zeros((3, 3))},
        {"v": np.zeros((3, 2)), "f": np.zeros((1, 3), int)},
        {"v": np.zeros((3, 3)), "f": np.full((1, 3), 7)},
        {"v": np.full((3, 3), np.nan), "f": np.zeros((1, 3), int)},
    ],
)
def test_a_spoilt_mesh_is_one_sentence(tmp_path: Path, arrays: dict[str, np.ndarray]) -> None:
    np.savez(tmp_path / "mesh.npz", **arrays)
    with pytest.raises(UserError, match=r"mesh.npz is no mesh of v \(N, 3\) and f \(M, 3\)") as error:
        load_scan(tmp_path)
    assert "\n" not in str(error.value)
    (tmp_path / "mesh.npz").write_bytes(b"PK")
    with pytest.raises(UserError, match="fetch it again"):
        load_scan(tmp_path)
    (tmp_path / "mesh.npz").unlink()
    assert load_scan(tmp_path) is None


def test_odd_rig_camera_is_one_sentence(tmp_path: Path) -> None:
    stages(tmp_path)
    path = tmp_path / "renders/eval/tower/cameras.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "rig_camera": {"distance": "far"}}))
    with pytest.raises(UserError, match=r"cameras.json has an odd rig_camera; render the object again"):
        RenderSet(tmp_path / "renders/eval/manifest.tsv").load("tower")


def test_held_out_pictures_are_named_by_their_azimuth(tmp_path: Path) -> None:
    stages(tmp_path)
    posed = RenderSet(tmp_path / "renders/eval/manifest.tsv").load("tower")
    assert between_rig(posed) == [1, 2, 3, 4]
    assert [degrees(posed, view) for view in range(5)] == ["0°", "315°", "45°", "135°", "225°"]
    assert held_out_view(posed) == 3
    assert replace(posed, poses=None).with_rig(Rig(azimuths_deg=[0, 72])).rig == [0, 1]
