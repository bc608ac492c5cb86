"""What can be measured against published pictures is measured, and what cannot be says why."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from picture_world import NAMES, block_mesh, normalised, stages

from aligncvc.config.jobs.evaluate import EvaluateJob
from aligncvc.config.pairing import judged
from aligncvc.config.plan import Plan
from aligncvc.config.protocols import Protocol
from aligncvc.config.root import parse_config
from aligncvc.errors import UserError
from aligncvc.evaluate.families import image_metrics
from aligncvc.evaluate.ground_truth import GroundTruth
from aligncvc.evaluate.networks import Networks, load_networks
from aligncvc.evaluate.predictions import predicted_method
from aligncvc.evaluate.records import FINAL_STEP, MEAN_VIEW
from aligncvc.evaluate.renderings import measure
from aligncvc.evaluate.samples import read_manifest
from aligncvc.evaluate.score import Evaluation, evaluate, sampled_method
from aligncvc.scene.cameras import orbit
from aligncvc.scene.gaussians import Gaussians, save_ply
from aligncvc.splat import rasterise

TURN_DEG = 45.0
"""About z, from the published frame to the input view's: the corner's azimuth is 315."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Protocol]:
    root = tmp_path_factory.mktemp("pictures")
    return root, judged(stages(root))


@pytest.fixture(scope="module")
def measured_by(made: tuple[Path, Protocol]) -> tuple[EvaluateJob, Networks]:
    plan = Plan(parse_config({}, "test"))
    job = plan.evaluate().model_copy(update={"protocol": made[1]})
    return job, load_networks(job)


def truth_of(made: tuple[Path, Protocol]) -> GroundTruth:
    root, protocol = made
    return GroundTruth(protocol, root / "renders/eval/manifest.tsv", root / "objects/eval/manifest.tsv")


def means(found: Evaluation, step: int = FINAL_STEP) -> dict[str, float]:
    rows = [r for r in found.records if (r.object, r.view, r.step) == ("tower", MEAN_VIEW, step)]
    return {r.metric: r.value for r in rows}


def predicted(made: tuple[Path, Protocol], turn_deg: float, folder: Path, by: tuple[EvaluateJob, Networks]):
    for name in NAMES:
        (folder / "mine" / name).mkdir(parents=True)
        normalised(block_mesh(name), turn_deg).export(folder / "mine" / name / "mesh.ply")
    truth = truth_of(made)
    return evaluate(predicted_method(folder / "mine", truth), truth, *by)


def test_the_true_mesh_is_right_at_every_picture(made, measured_by, tmp_path: Path) -> None:
    """A prediction in the input view's frame meets the other pictures and the mesh; turned, it does not."""
    found = predicted(made, TURN_DEG, tmp_path / "right", measured_by)
    right, wrong = means(found), means(predicted(made, -TURN_DEG, tmp_path / "wrong", measured_by))
    assert right["mask_iou"] > 0.9 > wrong["mask_iou"]
    assert right["psnr"] > 22 and right["psnr"] > wrong["psnr"] + 5
    assert right["chamfer_half_sum@none"] < 0.05 < wrong["chamfer_half_sum@none"]
    views = {r.view for r in found.records if r.metric == "psnr"}
    assert views == {MEAN_VIEW, 1, 2, 3, 4}, "the input is not scored"


def gaussians(name: str) -> Gaussians:
    """Small opaque balls on the true surface, in the input view's frame."""
    mesh = normalised(block_mesh(name), TURN_DEG)
    points, faces = mesh.sample(4000, return_index=True, seed=0)
    colours = torch.from_numpy(mesh.visual.face_colors[faces][:, :3].copy()).float() / 255
    count = len(points)
    return Gaussians(
        means=torch.from_numpy(np.asarray(points)).float(),
        scales=torch.full((count, 3), 0.015),
        quats=torch.tensor([[1.0, 0, 0, 0]]).repeat(count, 1),
        opacities=torch.full((count,), 0.99),
        colors=colours,
    )


@pytest.fixture(scope="module")
def samples(made: tuple[Path, Protocol]) -> Path:
    """As `python -m aligncvc.sample` writes them: two kept steps, of which the first views are noisy."""
    folder = made[0] / "sample"
    rig = orbit([0, 90, 180, 270], 10.0, distance=3.0, fov_y_deg=39.6, size_px=64)
    entries = []
    for name in NAMES:
        path = folder / name / "seed0"
        save_ply(path / "model.ply", gaussians(name))
        renders = (rasterise(gaussians(name), rig).rgb.clamp(0, 1) * 255).byte().permute(0, 2, 3, 1).numpy()
        noisy = np.where(np.random.default_rng(0).random(renders.shape) < 0.1, 128, renders).astype(np.uint8)
        stacks = {"views": np.stack([noisy, renders]), "renders": np.stack([renders, renders])}
        np.savez_compressed(path / "steps.npz", **stacks, timesteps=np.array([999, 499]))
        cost = {"network_calls": 4, "seconds": 1.0, "cpu_seconds": 1.0, "peak_mb": 100.0}
        (path / "sample.json").write_text(json.dumps({**cost, "seconds_by_part": {"render": 0.5}}))
        entries.append({"object": name, "seed": 0, "path": f"{name}/seed0"})
    manifest = {"pair": "p", "method": "m", "entries": entries, "rig": {"azimuths_deg": [0, 90, 180, 270]}}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def test_samples_have_what_needs_no_truth_at_the_rig(made, measured_by, samples: Path) -> None:
    manifest = read_manifest(samples)
    root, protocol = made
    objects = root / "objects/eval/manifest.tsv"
    truth = GroundTruth(protocol, root / "renders/eval/manifest.tsv", objects, manifest.rig)
    found = evaluate(sampled_method(manifest, truth), truth, *measured_by)
    assert not found.failures
    last, first, final = means(found, 2), means(found, 1), means(found)
    assert last["residual_psnr"] == 100 > first["residual_psnr"], "equal views and renderings"
    assert last["silhouette_coherence"] > 0.95 and last["heldout_psnr"] > 5
    assert final["psnr"] > 15 and final["mask_iou"] > 0.8 and final["watertight_truth"] in (0.0, 1.0)
    whole = {(r.metric, r.step) for r in found.records if r.object == "*"}
    assert ("kernel_lite0_renders", FINAL_STEP) in whole
    names = {r.metric for r in found.records}
    absent = {"views_psnr", "delta_psnr", "gap_unseen_psnr", "renders_union_psnr", "split_psnr", "tsed",
              "depth_mae", "kernel_lite0_views", "kernel_lite0_views_renders"}  # fmt: skip
    assert not names & absent and absent <= set(found.facts["unavailable"])
    assert found.facts["unavailable"]["views_psnr"] == "n/a (there is no picture at the generator's poses)"
    assert not set(found.facts["unavailable"]) & (names - {"clip_s", "fid"}), "nothing is both there and n/a"


def test_renderings_are_judged_without_sharpness(made, samples: Path) -> None:
    truth = truth_of(made)
    metrics = image_metrics(Networks(), made[1].metrics)
    records = list(measure(read_manifest(samples), truth, None, metrics))
    assert {(r.method, r.metric) for r in records} == {("renderings:m", "silhouette_coherence")}
    assert {r.object for r in records} == set(NAMES)


def test_controls_are_refused_in_one_sentence() -> None:
    plan = Plan(parse_config({"evaluate": {"protocol": "gso-published"}}, "test"))
    with pytest.raises(UserError, match=r"the pictures of protocol gso-published are elsewhere") as error:
        plan.control("gt")
    assert "set evaluate.controls: []" in str(error.value)
