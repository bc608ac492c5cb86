"""Predictions of others: our own samples, written as a stranger would, come back as what they were."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import trimesh
from torch import Tensor

from aligncvc.config.jobs.evaluate import EvaluateJob
from aligncvc.config.pairing import judged
from aligncvc.config.plan import Plan
from aligncvc.config.protocols import load_protocol
from aligncvc.config.root import Config
from aligncvc.errors import UserError
from aligncvc.evaluate import predictions
from aligncvc.evaluate.__main__ import objects_beside
from aligncvc.evaluate.ground_truth import GroundTruth
from aligncvc.evaluate.networks import Networks, load_networks
from aligncvc.evaluate.predictions import (
    is_gaussian_ply,
    load_prediction,
    method_name,
    predicted_method,
    read_facts,
)
from aligncvc.evaluate.records import Record
from aligncvc.evaluate.samples import read_gaussians, read_manifest
from aligncvc.evaluate.score import evaluate, sampled_method
from aligncvc.scene.camera_formats import to_opengl
from aligncvc.scene.cameras import Cameras, orbit, ring_azimuths_deg
from aligncvc.scene.gaussians import Gaussians, load_ply, save_ply
from aligncvc.scene.renderset import PosedObject
from aligncvc.scene.views import Views, composite, save_png, save_views
from aligncvc.splat import rasterise
from aligncvc.streams import torch_stream
from aligncvc.viewer.page import ViewSettings
from aligncvc.viewer.ply import save_viewer_ply

RIG = [0, 2, 4, 6]


def ring(size_px: int = 64) -> Cameras:
    return orbit(ring_azimuths_deg(8), 10.0, distance=3.0, fov_y_deg=39.6, size_px=size_px)


def levels(images: Tensor) -> Tensor:
    return (images.clamp(0, 1) * 255).round() / 255


def cloud(name: str) -> Gaussians:
    """200 coloured Gaussians, deterministic in the name."""
    g = torch_stream(0, "cloud", name)
    return Gaussians(
        means=torch.randn(200, 3, generator=g) * torch.tensor([0.25, 0.15, 0.2]),
        scales=0.04 + 0.04 * torch.rand(200, 3, generator=g),
        quats=torch.nn.functional.normalize(torch.randn(200, 4, generator=g), dim=-1),
        opacities=0.5 + 0.5 * torch.rand(200, generator=g),
        colors=torch.rand(200, 3, generator=g),
    )


def pictures(gaussians: Gaussians, cameras: Cameras) -> Tensor:
    """(V, 4, H, W) straight alpha, 8 bit."""
    black = rasterise(gaussians, cameras, background=0.0)
    return levels(torch.cat([black.rgb / black.alpha.clamp_min(1e-4), black.alpha], 1))


@pytest.fixture(scope="module")
def posed() -> PosedObject:
    return PosedObject("ball", Views(pictures(cloud("ball"), ring()), ring()), RIG)


def write_images(
    folder: Path, images: Tensor, cameras: Cameras, order: Sequence[int] | None = None, **change: Any
) -> None:
    """PNG files and a cameras.json as a Blender user would have it."""
    order = list(range(len(images))) if order is None else order
    folder.mkdir(parents=True, exist_ok=True)
    for i, view in enumerate(order):
        save_png(folder / f"{i:03d}.png", images[view])
    facts = {
        "convention": "opengl",
        "c2w": to_opengl(cameras[list(order)].c2w.double()).tolist(),
        "fov_y_deg": cameras.fov_y_deg,
        "width": images.shape[-1],
        "height": images.shape[-2],
    }
    (folder / "cameras.json").write_text(json.dumps(facts | change))


def test_views_come_back_in_the_rigs_order(posed: PosedObject, tmp_path: Path) -> None:
    write_images(tmp_path, posed.views.rgba, ring(), [6, 1, 4, 0, 3, 2])
    found = load_prediction(tmp_path, posed)
    assert found.views is not None
    assert torch.equal(found.views, posed.views.on_white()[RIG][None])
    assert (found.model, found.renders, found.cost) == (None, None, {})
    assert found.notes == [f"{tmp_path}: 2 of 6 images stand at other poses"]


def test_rgb_on_white_is_the_same_as_rgba(posed: PosedObject, tmp_path: Path) -> None:
    write_images(tmp_path, composite(posed.views.rgba, 1.0), ring(), RIG)
    found = load_prediction(tmp_path, posed)
    assert found.views is not None
    assert torch.allclose(found.views, posed.views.on_white()[RIG][None], atol=0.5 / 255 + 1e-6)
    assert found.notes == []


def test_gaussians_are_drawn_as_our_own_samples(posed: PosedObject, tmp_path: Path) -> None:
    save_ply(tmp_path / "model.ply", cloud("ball"))
    found = load_prediction(tmp_path, posed)
    assert found.views is None
    assert found.model is not None
    assert found.renders is not None
    cameras = posed.views.cameras
    own = rasterise(cloud("ball"), cameras[RIG], background=1.0).rgb
    assert found.renders.shape == (1, 4, 3, 64, 64)
    assert float((found.renders[0] - levels(own)).abs().max()) <= 1 / 255 + 1e-6  # a PLY rounds opacities
    everywhere = found.model.draw(cameras, 0.5).rgb
    assert torch.allclose(everywhere, rasterise(cloud("ball"), cameras, background=0.5).rgb, atol=1e-4)


def cube(size: float = 0.8) -> trimesh.Trimesh:
    """Each face its own colour: +x red, -x cyan, +y green, -y magenta, +z blue, -z yellow."""
    mesh = trimesh.creation.box((size, size, size))
    mesh.unmerge_vertices()
    colours = np.where(mesh.face_normals > 0.5, 255, 0) + 255 * (mesh.face_normals.min(1) < -0.5)[:, None]
    colours -= np.where(mesh.face_normals < -0.5, 255, 0)
    rgba = np.concatenate([colours, np.full((len(colours), 1), 255)], 1).astype(np.uint8)
    return trimesh.Trimesh(mesh.vertices, mesh.faces, vertex_colors=np.repeat(rgba, 3, 0), process=False)


FACES = {0: (1, 0, 1), 90: (1, 0, 0), 180: (0, 1, 0), 270: (0, 1, 1)}
"""Colour of the side that looks towards the azimuth: -y, +x, +y, -x."""


def y_up(mesh: trimesh.Trimesh) -> trimesh.Trimesh:
    """As glTF wants it: our z becomes y, our front (-y) becomes z."""
    turned = mesh.copy()
    turned.apply_transform(np.array([[1, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0], [0, 0, 0, 1.0]]))
    return turned


@pytest.mark.parametrize("name", ["mesh.glb", "mesh.obj", "mesh.ply", "model.ply"])
def test_a_mesh_stands_as_it_was_written(name: str, posed: PosedObject, tmp_path: Path) -> None:
    mesh = y_up(cube()) if name.endswith("glb") else cube()
    mesh.export(tmp_path / name)
    found = load_prediction(tmp_path, posed)
    assert found.renders is not None
    assert found.model is not None
    for view, colour in zip(found.renders[0], FACES.values(), strict=True):
        assert view[:, 36, 32].tolist() == pytest.approx(colour, abs=0.02)  # below the top edge: the side
        assert view[:, 0, 0].tolist() == [1, 1, 1]
    surface = found.model.mesh()
    assert surface is not None
    assert np.allclose(surface.bounds, [[-0.4] * 3, [0.4] * 3], atol=1e-5)


def test_a_mesh_whose_drawings_are_the_truth_has_no_error(posed: PosedObject, tmp_path: Path) -> None:
    mesh = trimesh.creation.box((0.5, 0.7, 0.9))
    mesh.visual.vertex_colors = (255 * (mesh.vertices / mesh.extents + 0.5)).astype(np.uint8)
    y_up(mesh).export(tmp_path / "a.glb")
    (tmp_path / "first").mkdir()
    (tmp_path / "a.glb").rename(tmp_path / "first/mesh.glb")
    drawn = load_prediction(tmp_path / "first", posed).model.draw(ring(), 0.0)  # type: ignore[union-attr]
    rgba = levels(torch.cat([drawn.rgb / drawn.alpha.clamp_min(1e-4), drawn.alpha], 1))
    truth = replace(posed, views=Views(rgba, ring()))
    (tmp_path / "second").mkdir()
    mesh.export(tmp_path / "second/mesh.ply")
    found = load_prediction(tmp_path / "second", truth)
    assert found.renders is not None
    assert float((found.renders[0] - truth.views.on_white()[RIG]).abs().max()) < 3 / 255


def test_gaussians_are_drawn_and_the_mesh_beside_them_is_the_surface(
    posed: PosedObject, tmp_path: Path
) -> None:
    save_ply(tmp_path / "model.ply", cloud("ball"))
    only = load_prediction(tmp_path, posed).renders
    cube().export(tmp_path / "mesh.obj")
    found = load_prediction(tmp_path, posed)
    assert found.renders is not None
    assert only is not None
    assert torch.equal(found.renders, only)
    surface = found.model.mesh()  # type: ignore[union-attr]
    assert surface.area == pytest.approx(6 * 0.8**2, rel=1e-4)  # type: ignore[union-attr]


def test_gaussians_are_told_from_meshes_by_their_properties(tmp_path: Path) -> None:
    save_ply(tmp_path / "gaussians.ply", cloud("ball"))
    cube().export(tmp_path / "mesh.ply")
    assert is_gaussian_ply(tmp_path / "gaussians.ply")
    assert not is_gaussian_ply(tmp_path / "mesh.ply")


@pytest.mark.parametrize("resize", ["area", "bilinear", "bicubic"])
def test_another_size_is_resized_only_if_the_protocol_says_so(
    resize: str, posed: PosedObject, tmp_path: Path
) -> None:
    large = pictures(cloud("ball"), ring(128))
    write_images(tmp_path, large, ring(128), RIG)
    with pytest.raises(UserError, match="128x128 where the protocol has 64x64 and no resizing"):
        load_prediction(tmp_path, posed)
    found = load_prediction(tmp_path, posed, resize).views
    assert found is not None
    assert found.shape == (1, 4, 3, 64, 64)
    expected = torch.nn.functional.avg_pool2d(composite(large[RIG], 1.0), 2)
    assert float((found[0] - expected).abs().max()) < (1e-6 if resize == "area" else 0.2)


def test_another_aspect_ratio_is_never_resized(posed: PosedObject, tmp_path: Path) -> None:
    wide = replace(ring(), width=96)
    write_images(tmp_path, pictures(cloud("ball"), wide), wide, RIG)
    with pytest.raises(UserError, match="another aspect ratio"):
        load_prediction(tmp_path, posed, "area")


def test_poses_that_the_protocol_has_not_are_listed(posed: PosedObject, tmp_path: Path) -> None:
    write_images(tmp_path, posed.views.rgba, ring(), [0, 1, 2, 3])
    with pytest.raises(UserError, match=r"2 of the protocol's 4 poses: azimuth 180, .*; azimuth 270, "):
        load_prediction(tmp_path, posed)


def test_cameras_of_a_wrong_convention_are_caught(posed: PosedObject, tmp_path: Path) -> None:
    write_images(tmp_path, posed.views.rgba, ring(), RIG, convention="opencv-c2w-zup")
    with pytest.raises(UserError, match="not facing the object"):
        load_prediction(tmp_path, posed)


def test_premultiplied_images_are_caught(tmp_path: Path) -> None:
    bright = replace(cloud("bright"), colors=torch.full((200, 3), 0.9), opacities=torch.full((200,), 0.99))
    truth = PosedObject("bright", Views(pictures(bright, ring()), ring()), RIG)
    rgba = truth.views.rgba
    write_images(tmp_path, torch.cat([rgba[:, :3] * rgba[:, 3:], rgba[:, 3:]], 1), ring(), RIG)
    with pytest.raises(UserError, match="premultiplied"):
        load_prediction(tmp_path, truth)


def _gap(folder: Path) -> None:
    (folder / "002.png").rename(folder / "004.png")


def _no_cameras(folder: Path) -> None:
    (folder / "cameras.json").unlink()


def _mixed_sizes(folder: Path) -> None:
    save_png(folder / "001.png", torch.ones(4, 32, 32))


def _mixed_alpha(folder: Path) -> None:
    save_png(folder / "001.png", torch.ones(3, 64, 64))


def _broken(folder: Path) -> None:
    (folder / "001.png").write_bytes(b"\x89PNG")


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()


def _two_meshes(folder: Path) -> None:
    cube().export(folder / "mesh.obj")
    cube().export(folder / "mesh.ply")


def _unknown_fact(folder: Path) -> None:
    (folder / "prediction.json").write_text('{"second": 3}')


def _negative_cost(folder: Path) -> None:
    (folder / "prediction.json").write_text('{"seconds": -3}')


def _no_json(folder: Path) -> None:
    (folder / "prediction.json").write_text("seconds: 3")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (_gap, "lacks 002.png"),
        (_no_cameras, "no cameras.json"),
        (_mixed_sizes, "several shapes"),
        (_mixed_alpha, "several shapes"),
        (_broken, "001.png is not a readable image"),
        (_empty, "neither images .* nor a model"),
        (_two_meshes, "mesh.obj and mesh.ply; leave one"),
        (_unknown_fact, r"unknown keys \['second'\]"),
        (_negative_cost, "negative"),
        (_no_json, "prediction.json is not readable"),
    ],
)
def test_what_is_wrong_is_named(spoil: Any, words: str, posed: PosedObject, tmp_path: Path) -> None:
    write_images(tmp_path, posed.views.rgba, ring(), RIG)
    spoil(tmp_path)
    with pytest.raises(UserError, match=words):
        load_prediction(tmp_path, posed)


def test_facts(tmp_path: Path) -> None:
    assert read_facts(tmp_path) == ({}, None)
    (tmp_path / "prediction.json").write_text(
        '{"seconds": 2.5, "network_calls": 50, "seed": 3, "about": "x"}'
    )
    assert read_facts(tmp_path) == ({"seconds": 2.5, "network_calls": 50.0}, 3)


def test_method_names(tmp_path: Path) -> None:
    assert method_name(tmp_path / "SyncDreamer-v1.0") == "SyncDreamer-v1.0"
    for name in ("my method", "-x", "control:gt", "control-gt", "a,b"):
        with pytest.raises(UserError, match="rename the folder"):
            method_name(tmp_path / name)
    with pytest.raises(UserError, match="which the configuration has"):
        method_name(tmp_path / "aware_4", reserved=["aware_4"])


class Truth(GroundTruth):
    """Ground truth of objects that are in memory."""

    def __init__(self, posed: dict[str, PosedObject], seeds: list[int]) -> None:
        self.posed = posed
        self.protocol = load_protocol("demo").model_copy(update={"seeds": seeds})
        self.set = SimpleNamespace(manifest=Path("renders/eval/manifest.tsv"), ids=list(posed))  # type: ignore
        self.objects = None

    def load(self, name: str) -> PosedObject:
        return replace(self.posed[name], id=name)


@pytest.fixture
def truth(posed: PosedObject) -> Truth:
    return Truth({"ball": posed, "cone": posed, "cup": posed}, [0])


def test_missing_and_broken_objects_fail_alone(truth: Truth, posed: PosedObject, tmp_path: Path) -> None:
    pred = tmp_path / "theirs"
    write_images(pred / "ball", posed.views.rgba, ring(), RIG)
    write_images(pred / "cone", posed.views.rgba, ring(), [0, 2])
    method = predicted_method(pred, truth)
    assert (method.pair, method.name) == ("elsewhere", "theirs")
    assert list(method.trials) == [("ball", 0), ("cone", 0), ("cup", 0)]
    trial = method.trials["ball", 0]()
    assert trial.views is not None
    assert torch.equal(trial.views[0], trial.rig_truth)
    assert (trial.model, trial.renders, trial.rig) == (None, None, RIG)
    with pytest.raises(UserError, match="2 of the protocol's 4 poses"):
        method.trials["cone", 0]()
    with pytest.raises(UserError, match="has no prediction of cup, seed 0"):
        method.trials["cup", 0]()


def test_one_object_alone(truth: Truth, posed: PosedObject, tmp_path: Path) -> None:
    write_images(tmp_path / "theirs/cone", posed.views.rgba, ring(), RIG)
    method = predicted_method(tmp_path / "theirs/cone", truth)
    assert (method.name, list(method.trials)) == ("theirs", [("cone", 0)])
    assert method.trials["cone", 0]().object == "cone"


def test_seeds_by_folder_and_by_statement(posed: PosedObject, tmp_path: Path) -> None:
    truth = Truth({"ball": posed, "cone": posed}, [0, 1])
    for seed in (0, 1):
        save_ply(tmp_path / f"theirs/ball/seed{seed}/model.ply", cloud("ball"))
    save_ply(tmp_path / "theirs/cone/model.ply", cloud("cone"))
    (tmp_path / "theirs/cone/prediction.json").write_text('{"seed": 1}')
    trials = predicted_method(tmp_path / "theirs", truth).trials
    assert list(trials) == [("ball", 0), ("ball", 1), ("cone", 0), ("cone", 1)]
    with pytest.raises(UserError, match="no prediction of cone, seed 0"):
        trials["cone", 0]()
    assert trials["cone", 1]().seed == 1
    with pytest.raises(UserError, match=r"seed 1, and the protocol demo-.* asks for \[0\]"):
        predicted_method(tmp_path / "theirs", Truth(truth.posed, [0]))


def test_one_seed_of_a_protocol_of_several_is_complete(posed: PosedObject, tmp_path: Path) -> None:
    save_ply(tmp_path / "theirs/ball/model.ply", cloud("ball"))
    method = predicted_method(tmp_path / "theirs", Truth({"ball": posed}, [0, 1]))
    assert list(method.trials) == [("ball", 0)]


def test_a_model_made_for_viewers_is_refused(posed: PosedObject, tmp_path: Path) -> None:
    save_viewer_ply(tmp_path / "model.ply", cloud("ball"), 64, ViewSettings())
    with pytest.raises(UserError, match=r"model\.ply was written for viewers .* with --raw"):
        load_prediction(tmp_path, posed)
    with pytest.raises(UserError, match="written for viewers"):
        read_gaussians(tmp_path / "model.ply")


def test_strangers_and_empty_folders_are_refused(truth: Truth, tmp_path: Path) -> None:
    save_ply(tmp_path / "theirs/teapot/model.ply", cloud("ball"))
    with pytest.raises(UserError, match=r"holds teapot, which renders/eval/manifest\.tsv does not list"):
        predicted_method(tmp_path / "theirs", truth)
    (tmp_path / "none").mkdir()
    with pytest.raises(UserError, match="holds no prediction"):
        predicted_method(tmp_path / "none", truth)
    with pytest.raises(UserError, match="is not a folder"):
        predicted_method(tmp_path / "nowhere", truth)


def as_own_sample(folder: Path, gaussians: Gaussians, views: Tensor, cost: dict[str, float]) -> None:
    """One step, in the layout of `python -m aligncvc.sample`; views (V, 3, H, W)."""
    save_ply(folder / "model.ply", gaussians)
    drawn = rasterise(load_ply(folder / "model.ply"), ring()[RIG], background=1.0).rgb
    arrays = {"views": views[None], "renders": drawn[None]}
    pixels = {
        name: (images.clamp(0, 1) * 255).round().byte().permute(0, 1, 3, 4, 2).numpy()
        for name, images in arrays.items()
    }
    np.savez(folder / "steps.npz", **pixels, timesteps=np.array([999]))
    (folder / "sample.json").write_text(json.dumps(cost))


def write_truth(folder: Path, names: Sequence[str]) -> Path:
    for name in names:
        views = Views(pictures(cloud(name), ring()), ring())
        save_views(folder / name, views, object=name, rigs={"rig": RIG, "ring": list(range(8))})
    header = "id\tstatus\tstage\treason\tseconds\tattempts\tjob_hash\tlicence\tcreator"
    rows = [f"{name}\tok\tdone\t\t1.0\t1\thash\tCC0-1.0\tnobody" for name in names]
    (folder / "manifest.tsv").write_text("\n".join([header, *rows]) + "\n")
    return folder / "manifest.tsv"


@pytest.fixture(scope="module")
def measuring() -> tuple[EvaluateJob, Networks]:
    """The demo's protocol with a ring of eight, along the steps, and what it measures with."""
    protocol = judged(load_protocol("demo"))
    small = protocol.render.model_copy(update={"ring_views": 8, "rig_views": 4})
    update = {"protocol": protocol.model_copy(update={"render": small}), "curves": True}
    job = Plan(Config()).evaluate().model_copy(update=update)
    return job, load_networks(job)


def by_name(records: Sequence[Record]) -> dict[tuple[str, int, int, int, str], float]:
    return {(r.object, r.seed, r.view, r.step, r.metric): r.value for r in records}


def test_a_prediction_gives_the_records_of_the_sample_it_was_made_from(
    tmp_path: Path, measuring: tuple[EvaluateJob, Networks]
) -> None:
    """Every family, every metric, every view: the same number, to the bit where no network looks."""
    names, (job, networks) = ("ball", "cone"), measuring
    renders = write_truth(tmp_path / "renders", names)
    cost = {"network_calls": 8.0, "seconds": 1.5, "cpu_seconds": 2.5, "peak_mb": 300.0}
    for name in names:
        guess = replace(cloud(name), means=cloud(name).means + 0.02)
        views = levels(composite(pictures(cloud(name), ring()), 1.0)[RIG] * 0.9 + 0.1)
        as_own_sample(tmp_path / "ours" / name, guess, views, cost)
        theirs = tmp_path / "pred/theirs" / name
        write_images(theirs, views, ring()[RIG], [2, 0, 3, 1])
        save_ply(theirs / "model.ply", guess)
        (theirs / "prediction.json").write_text(json.dumps(cost))
    listed = [{"object": name, "seed": 0, "path": name} for name in names]
    manifest = {"pair": "A + B", "method": "ours", "entries": listed}
    (tmp_path / "ours/manifest.json").write_text(json.dumps(manifest))
    truth = GroundTruth(job.protocol, renders, None)
    found = {}
    for method in (
        sampled_method(read_manifest(tmp_path / "ours"), truth),
        predicted_method(tmp_path / "pred/theirs", truth),
    ):
        result = evaluate(method, truth, job, networks)
        assert result.failures == {}
        assert {r.pair for r in result.records} == {"A + B" if method.name == "ours" else "elsewhere"}
        found[method.name] = by_name(result.records)
    assert found["ours"].keys() == found["theirs"].keys()
    others = GroundTruth(job.protocol, write_truth(tmp_path / "others", ["cup"]), None)
    with pytest.raises(
        UserError, match=r"samples of ball, which .*others/manifest.tsv does not list; give --r"
    ):
        sampled_method(read_manifest(tmp_path / "ours"), others)
    assert {"psnr", "views_psnr", "residual_psnr", "split_psnr", "heldout_lpips", "network_calls"} < {
        key[-1] for key in found["ours"]
    }
    ours, theirs = found["ours"], found["theirs"]
    for key, value in ours.items():
        # Convolutions round differently for images that lie differently in memory; nothing else may differ.
        learned = any(word in key[-1] for word in ("lpips", "dists", "lite0", "split", "heldout"))
        expected = pytest.approx(
            theirs[key], rel=1e-5 if learned else 0, abs=1e-6 if learned else 0, nan_ok=True
        )
        assert value == expected, key


def test_one_bad_model_fails_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, measuring: tuple[EvaluateJob, Networks]
) -> None:
    """A NaN among the positions, and a mesh whose reader raises what nobody foresaw."""
    job, networks = measuring
    truth = GroundTruth(job.protocol, write_truth(tmp_path / "renders", ["ball", "cone", "cup"]), None)
    save_ply(tmp_path / "theirs/ball/model.ply", cloud("ball"))
    means = cloud("cone").means.clone()
    means[2, 1] = float("nan")
    save_ply(tmp_path / "theirs/cone/model.ply", replace(cloud("cone"), means=means))
    (tmp_path / "theirs/cup").mkdir()
    (tmp_path / "theirs/cup/mesh.glb").write_bytes(b"glTF")

    def reader(path: Path, **_: Any) -> trimesh.Trimesh:
        raise IndexError("index 7 is out of bounds")

    monkeypatch.setattr(predictions, "load_mesh", reader)
    result = evaluate(predicted_method(tmp_path / "theirs", truth), truth, job, networks)
    failed = {r.object: r.value for r in result.records if r.metric == "failed"}
    assert failed == {"ball": 0, "cone": 1, "cup": 1}
    assert "means that are not finite numbers" in result.failures["cone/seed0"]
    assert "IndexError: index 7 is out of bounds, in predictions.py" in result.failures["cup/seed0"]


def test_harmonics_of_a_model_are_drawn(posed: PosedObject, tmp_path: Path) -> None:
    """A ball that is red seen from the front of the rig and not from behind."""
    save_ply(tmp_path / "model.ply", cloud("ball"))
    flat = load_prediction(tmp_path, posed).renders
    header, body = (tmp_path / "model.ply").read_bytes().split(b"end_header\n")
    table = np.frombuffer(body, "<f4").reshape(-1, 17)
    rest = np.zeros((len(table), 9), "<f4")
    rest[:, 0] = -1.0  # red, -C1 y: directions from the input view, which stands at -y, have y > 0
    lines = header + b"".join(b"property float f_rest_%d\n" % i for i in range(9)) + b"end_header\n"
    (tmp_path / "model.ply").write_bytes(lines + np.concatenate([table, rest], 1).tobytes())
    renders = load_prediction(tmp_path, posed).renders
    assert flat is not None and renders is not None
    change = (renders - flat)[0].mean((2, 3))
    assert float(change[0, 0]) > 0.01 and float(change[2, 0]) < -0.01
    assert float(change[:, 1:].abs().max()) < 1e-3


def test_an_image_only_and_a_model_only_method_have_what_they_can(
    tmp_path: Path, measuring: tuple[EvaluateJob, Networks]
) -> None:
    job, networks = measuring
    truth = GroundTruth(job.protocol, write_truth(tmp_path / "renders", ["ball", "cone"]), None)
    write_images(tmp_path / "mixed/ball", pictures(cloud("ball"), ring()), ring(), RIG)
    save_ply(tmp_path / "mixed/cone/model.ply", cloud("cone"))
    result = evaluate(predicted_method(tmp_path / "mixed", truth), truth, job, networks)
    assert result.failures == {}
    metrics = {
        name: {r.metric for r in result.records if r.object == name and not np.isnan(r.value)}
        for name in ("ball", "cone")
    }
    assert "views_psnr" in metrics["ball"]
    assert "split_psnr" in metrics["ball"]
    assert not {"psnr", "fg_psnr", "residual_psnr", "matches"} & metrics["ball"]
    assert {"psnr", "fg_psnr"} <= metrics["cone"]
    assert not {"views_psnr", "residual_psnr", "split_psnr"} & metrics["cone"]
    exact = {r.object: r.value for r in result.records if r.metric == "views_psnr" and r.view == r.step == -1}
    assert exact == {"ball": 100.0}


def test_gaussians_that_are_y_up(posed: PosedObject, tmp_path: Path) -> None:
    """Turned as glTF is, they are those that z up describes; harmonics would have to turn too."""
    for name in ("ours", "theirs"):
        (tmp_path / name).mkdir()
    save_ply(tmp_path / "ours/model.ply", cloud("ball"))
    turn = torch.tensor([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])  # ours -> glTF
    save_ply(tmp_path / "theirs/model.ply", cloud("ball").moved(turn, torch.ones(()), torch.zeros(3)))
    ours = load_prediction(tmp_path / "ours", posed).renders
    theirs = load_prediction(tmp_path / "theirs", posed, up="y").renders
    assert ours is not None and theirs is not None
    assert float((ours - theirs).abs().max()) < 2 / 255


def test_files_beside_seeds_are_not_passed_over(truth: Truth, tmp_path: Path) -> None:
    save_ply(tmp_path / "theirs/ball/seed0/model.ply", cloud("ball"))
    save_ply(tmp_path / "theirs/ball/model.ply", cloud("ball"))
    with pytest.raises(UserError, match="holds seed0 and files of a prediction beside it"):
        predicted_method(tmp_path / "theirs", truth)


def test_a_method_may_be_called_otherwise_than_its_folder(truth: Truth, tmp_path: Path) -> None:
    save_ply(tmp_path / "run 7 (best)/ball/model.ply", cloud("ball"))
    assert predicted_method(tmp_path / "run 7 (best)", truth, name="mine").name == "mine"
    with pytest.raises(UserError, match="or give --name"):
        predicted_method(tmp_path / "run 7 (best)", truth)
    with pytest.raises(UserError, match="which the configuration has"):
        predicted_method(tmp_path / "run 7 (best)", truth, ["aware_4"], name="aware_4")


def test_surfaces_are_those_beside_the_renders(tmp_path: Path) -> None:
    """Other renders than the run's own are not measured against the run's own meshes."""
    manifest = tmp_path / "results/renders/eval/manifest.tsv"
    assert objects_beside(manifest) is None
    objects = tmp_path / "results/objects/eval/manifest.tsv"
    objects.parent.mkdir(parents=True)
    objects.write_text("id\tpath\n")
    assert objects_beside(manifest) == objects
    assert objects_beside(tmp_path / "results/renders/mine/manifest.tsv") is None
    assert objects_beside(tmp_path / "mine/manifest.tsv") is None
