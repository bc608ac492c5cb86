"""What Blender renders is what the cameras say: compared with an analytic ray tracer of spheres and a box."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from render_scenes import SPHERES, Rendered, box_glb, files_of, small_job, write_manifest, zup

from aligncvc.bench.blender import measure
from aligncvc.files import PROJECT_ROOT
from aligncvc.render.run import render_set
from aligncvc.scene.views import load_views, view_facts

pytestmark = pytest.mark.blender


def trace(rendered: Rendered) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Analytic (label (V,H,W), -1 = background; z depth (V,H,W); world normal (V,H,W,3)) of the spheres."""
    folder = rendered.out / "spheres"
    cameras = load_views(folder).cameras
    facts = view_facts(folder)["normalisation"]
    origins, directions = (t.double().permute(0, 2, 3, 1).numpy() for t in cameras.rays())
    forward = cameras.c2w[:, :3, 2].double().numpy()[:, None, None]
    best = np.full(origins.shape[:3], np.inf)
    label, normal = np.full(best.shape, -1), np.zeros(origins.shape)
    for index, (centre, radius, _) in enumerate(SPHERES.values()):
        middle = facts["scale"] * zup(np.asarray(centre)) + np.asarray(facts["offset"])
        size = facts["scale"] * radius
        along = ((middle - origins) * directions).sum(-1)
        inside = size**2 - (((origins + along[..., None] * directions) - middle) ** 2).sum(-1)
        distance = along - np.sqrt(np.maximum(inside, 0))
        hit = (inside > 0) & (distance < best)
        best, label = np.where(hit, distance, best), np.where(hit, index, label)
        outward = (origins + distance[..., None] * directions - middle) / size
        normal = np.where(hit[..., None], outward, normal)
    depth = np.where(label >= 0, best, 0)[..., None] * directions
    return label, (depth * forward).sum(-1), normal


def interior(label: np.ndarray) -> np.ndarray:
    """Pixels whose 5x5 neighbourhood has one label (away from edges)."""
    padded = np.pad(label, ((0, 0), (2, 2), (2, 2)), constant_values=-1)
    height, width = label.shape[1:]
    same = [padded[:, y : y + height, x : x + width] == label for y in range(5) for x in range(5)]
    return np.all(same, axis=0)


def test_colours_appear_where_the_cameras_project_them(rendered: Rendered) -> None:
    label, _, _ = trace(rendered)
    rgba = load_views(rendered.out / "spheres").rgba.permute(0, 2, 3, 1).numpy()
    inner = interior(label)
    alpha = rgba[..., 3]
    assert (alpha[inner & (label < 0)] == 0).all()
    assert (alpha[inner & (label >= 0)] == 1).all()
    assert float(((alpha > 0.5) != (label >= 0)).mean()) < 0.005  # edges to within a fraction of a pixel
    colours = np.array([c for _, _, c in SPHERES.values()]) / np.linalg.norm(
        [c for _, _, c in SPHERES.values()], axis=1, keepdims=True)  # fmt: skip
    seen = rgba[..., :3] / np.maximum(np.linalg.norm(rgba[..., :3], axis=-1, keepdims=True), 1e-6)
    nearest = (seen @ colours.T).argmax(-1)
    solid = inner & (label >= 0)
    assert set(np.unique(label[solid])) == set(range(len(SPHERES)))
    assert float((nearest[solid] == label[solid]).mean()) == 1.0


def test_silhouettes_have_no_offset(rendered: Rendered) -> None:
    """Half a pixel of principal-point error moves the centroid by half a pixel."""
    label, _, _ = trace(rendered)
    alpha = load_views(rendered.out / "spheres").alpha[:, 0].numpy()
    rows, columns = np.mgrid[: label.shape[1], : label.shape[2]]
    offsets = np.array([[
        (alpha[view] * axis).sum() / alpha[view].sum() - axis[label[view] >= 0].mean()
        for axis in (rows, columns)] for view in range(len(label))])  # fmt: skip
    assert np.abs(offsets).max() < 0.25  # the tracer's silhouettes are made of whole pixels
    assert np.abs(offsets.mean(0)).max() < 0.05


def test_depth_is_analytic_depth(rendered: Rendered) -> None:
    label, depth, normal = trace(rendered)
    views = load_views(rendered.out / "spheres")
    assert views.depth is not None
    found = views.depth.numpy()
    assert (found[interior(label) & (label < 0)] == 0).all()
    _, directions = views.cameras.rays()
    facing = -(directions.permute(0, 2, 3, 1).numpy() * normal).sum(-1) > 0.8
    pixels = interior(label) & (label >= 0) & facing
    assert pixels.sum() > 500
    error = (found - depth)[pixels]
    assert np.abs(error).max() < 0.04  # one subpixel-jittered sample on a slope, stored as float16
    assert abs(error.mean()) < 0.004


def test_normals_are_world_normals(rendered: Rendered) -> None:
    label, _, normal = trace(rendered)
    views = load_views(rendered.out / "spheres")
    assert views.normals is not None
    found = views.normals.permute(0, 2, 3, 1).numpy()
    solid = interior(label) & (label >= 0)
    assert np.abs(np.linalg.norm(found[solid], axis=-1) - 1).max() < 2e-3
    assert (found[interior(label) & (label < 0)] == 0).all()
    angle = np.degrees(np.arccos(np.clip((found * normal).sum(-1)[solid], -1, 1)))
    assert np.median(angle) < 2 and angle.max() < 12


def test_flat_faces_have_axis_normals(rendered: Rendered) -> None:
    """Azimuth 0 sees the box's front (-y), 90 its right (+x), 180 its back (+y); all see its top (+z)."""
    views = load_views(rendered.out / "box")
    assert views.normals is not None
    for view, front in ((0, [0.0, -1.0, 0.0]), (2, [1.0, 0.0, 0.0]), (4, [0.0, 1.0, 0.0])):
        found = views.normals[view][:, 33, 32]
        torch.testing.assert_close(found, torch.tensor(front), atol=2e-3, rtol=0)
        up = views.normals[view][2][views.alpha[view, 0] > 0.99]
        assert float(up.max()) > 0.99 and float(up.min()) > -0.01


def test_object_fits_the_unit_sphere(rendered: Rendered) -> None:
    facts = view_facts(rendered.out / "box")
    scale = 2 / np.sqrt(1.0**2 + 0.3**2 + 0.7**2)
    assert facts["normalisation"]["scale"] == pytest.approx(scale, rel=1e-6)
    assert np.abs(facts["normalisation"]["offset"]).max() < 1e-6
    assert facts["rigs"] == {"rig": [0, 2, 4, 6], "ring": list(range(8))}
    assert facts["renderer"]["blender"].startswith("4.2") and facts["renderer"]["blenderproc"] == "2.8.0"
    assert (facts["licence"], facts["creator"]) == ("CC0-1.0", "A. Maker")


def test_renders_repeat_to_the_bit(rendered: Rendered, tmp_path: Path) -> None:
    """Another order and one process per object: every file of both objects is the same."""
    lines = rendered.manifest.read_text().splitlines()
    swapped = rendered.manifest.parent / "swapped.tsv"
    swapped.write_text("\n".join([lines[0], *lines[:0:-1]]) + "\n")
    render_set(rendered.job, swapped, tmp_path, workers=2, threads=2)
    for name in ("spheres", "box"):
        assert files_of(tmp_path / name) == files_of(rendered.out / name)


@pytest.mark.parametrize("last", ["japanese-lantern", "little-plant"])
def test_an_object_never_wears_the_textures_of_another(tmp_path: Path, last: str) -> None:
    """Rendered after other textured objects in the same process, it looks as it does alone."""
    objects = PROJECT_ROOT / "assets/objects"
    names = [n for n in ("extinguisher", "japanese-lantern", "little-plant", "cup-cake") if n != last]
    glbs = {n: (objects / f"blendswap-cc-0-{n}.glb").read_bytes() for n in [*names, last]}
    job = small_job(samples=1)
    render_set(job, write_manifest(tmp_path / "all", glbs), tmp_path / "together", workers=1)
    render_set(job, write_manifest(tmp_path / "one", {last: glbs[last]}), tmp_path / "alone", workers=1)
    alone, together = (load_views(tmp_path / folder / last).rgba for folder in ("alone", "together"))
    assert torch.equal(alone, together)


def test_exposure_keeps_white_below_saturation(rendered: Rendered) -> None:
    """The light never clips: the brightest channel of a bright object stays below 255."""
    rgba = load_views(rendered.out / "box").rgba
    solid = rgba[:, :3].transpose(0, 1)[:, rgba[:, 3] > 0.99]
    assert 0.5 < float(solid.max()) < 1.0


def test_syncdreamers_scene(rendered: Rendered, tmp_path: Path) -> None:
    """A cube of side 1 holds the object, and under grey light alone every face of it is equally bright."""
    job = small_job(
        normalisation="unit-cube", light="uniform", distance=1.5, fov_y_deg=49.1343, elevation_deg=30.0
    )
    manifest = write_manifest(tmp_path / "objects", {"box": box_glb()})
    render_set(job, manifest, tmp_path / "out", workers=1)
    assert view_facts(tmp_path / "out/box")["normalisation"]["scale"] == pytest.approx(1.0)  # longest side: 1

    def solid(folder: Path) -> torch.Tensor:
        rgba = load_views(folder).rgba
        return rgba[:, :3].transpose(0, 1)[:, rgba[:, 3] > 0.99]

    grey = solid(tmp_path / "out/box")
    assert float(grey.std(1).max()) < 0.03 < 0.06 < float(solid(rendered.out / "box").std(1).max())
    # A diffuse surface returns albedo x 0.5 whatever way it faces; PNGs hold it sRGB-encoded.
    encoded = 1.055 * (torch.tensor([230, 140, 60]) / 255 * 0.5) ** (1 / 2.4) - 0.055
    torch.testing.assert_close(grey.mean(1), encoded, atol=0.03, rtol=0)


def test_scene_module_needs_neither_torch_nor_blender_to_import() -> None:
    code = ("import sys, aligncvc.render.blender_scene, aligncvc.render.bproc_adapter\n"
            "assert not {'torch', 'bpy', 'blenderproc'} & set(sys.modules)")  # fmt: skip
    subprocess.run([sys.executable, "-c", code], check=True)


def test_overhead_is_measured_on_equal_scenes(rendered: Rendered) -> None:
    found = measure(rendered.manifest.parent / "box.glb", repeats=1, samples=4, views=4)
    assert set(found) == {"blenderproc_start", "blenderproc_view", "blender_start", "blender_view"}
    assert all(v > 0 for v in found.values())
    json.dumps(found)


def test_import_faults_are_quarantined(tmp_path: Path) -> None:
    """A corrupt, an empty and a pointlike object fail alone, and the object after them is rendered."""
    point = trimesh.Trimesh(vertices=np.ones((3, 3)), faces=[[0, 1, 2]], process=False)
    manifest = write_manifest(tmp_path / "objects", {
        "truncated": box_glb()[:400], "noise": b"not a mesh",
        "point": trimesh.Scene(point).export(file_type="glb"), "box": box_glb(),
    }, failed={"given_up": "download was truncated"})  # fmt: skip
    statuses = {s.id: s for s in render_set(small_job(), manifest, tmp_path / "out", workers=1)}
    assert {k: (s.status, s.stage) for k, s in statuses.items()} == {
        "truncated": ("failed", "import"), "noise": ("failed", "import"), "point": ("failed", "normalise"),
        "box": ("ok", "done"), "given_up": ("failed", "objects"),
    }  # fmt: skip
    assert all(statuses[k].reason for k in ("truncated", "noise", "point"))
    assert statuses["given_up"].reason == "download was truncated"
    assert [p.name for p in (tmp_path / "out" / "noise").iterdir()] == ["status.json"]
    table = (tmp_path / "out" / "manifest.tsv").read_text().splitlines()
    assert [line.split("\t")[:2] for line in table[1:]] == [
        [k, statuses[k].status] for k in ("truncated", "noise", "point", "box", "given_up")]  # fmt: skip
    assert (tmp_path / "out" / "contact_sheet.png").stat().st_size > 500
