"""Sharpness and renderings that are judged like views, from a small synthetic run on disk."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from aligncvc.config.plan import Plan
from aligncvc.config.root import Config
from aligncvc.evaluate.families import image_metrics
from aligncvc.evaluate.ground_truth import GroundTruth
from aligncvc.evaluate.networks import Networks
from aligncvc.evaluate.renderings import measure, sharpness
from aligncvc.evaluate.samples import read_manifest
from aligncvc.models.pair import load_reconstructor
from aligncvc.scene.cameras import orbit, ring_azimuths_deg
from aligncvc.scene.views import Views, save_views

SIZE, RING, RIG = 64, 16, [0, 4, 8, 12]
"""As in the demo's protocol."""


def test_sharpness_is_a_share_of_the_truths() -> None:
    truth = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    assert sharpness(truth, truth) == 1.0
    assert sharpness(0.5 * truth + 0.25, truth) == pytest.approx(0.5)
    assert math.isnan(sharpness(truth, torch.ones_like(truth)))


@pytest.fixture
def samples(tmp_path: Path) -> Path:
    """An object whose renderings are the true views and whose generated views are noisy; one that failed."""
    cameras = orbit(ring_azimuths_deg(RING), 10.0, distance=3.0, fov_y_deg=39.6, size_px=SIZE)
    rgba = torch.zeros(RING, 4, SIZE, SIZE)
    rgba[:, :, 16:48, 16:48] = torch.rand(RING, 4, 32, 32, generator=torch.Generator().manual_seed(0))
    rgba[:, 3, 16:48, 16:48] = 1.0
    views = Views(rgba, cameras)
    save_views(tmp_path / "renders/ball", views, rigs={"rig": RIG}, object="ball")
    (tmp_path / "renders/manifest.tsv").write_text("id\tstatus\tjob_hash\nball\tok\thash\n")
    clean = (views.on_white()[RIG].permute(0, 2, 3, 1)[None] * 255).round().byte().numpy()
    noise = np.random.default_rng(0).integers(-40, 40, clean.shape)
    folder = tmp_path / "sample/plain/ball/seed0"
    folder.mkdir(parents=True)
    noisy = (clean.astype(int) + noise).clip(0, 255).astype(np.uint8)
    np.savez(folder / "steps.npz", views=noisy, renders=clean)
    entries = [{"object": name, "seed": 0, "path": f"{name}/seed0"} for name in ("ball", "lost")]
    facts = {"pair": "p", "method": "plain", "entries": entries, "failed": []}
    (tmp_path / "sample/plain/manifest.json").write_text(json.dumps(facts))
    return tmp_path


def test_renderings_are_judged_like_views(samples: Path) -> None:
    job = Plan(Config()).evaluate()
    truth = GroundTruth(job.protocol, samples / "renders/manifest.tsv", None)
    manifest = read_manifest(samples / "sample/plain")
    judge = load_reconstructor(job.judge, 0, job.checkpoints)
    metrics = image_metrics(Networks(), job.protocol.metrics)
    records = list(measure(manifest, truth, judge, metrics))
    found = {(r.method, r.metric): r.value for r in records}
    assert {r.pair for r in records} == {"p"} and {r.object for r in records} == {"ball"}
    assert {metric for method, metric in found if method == "renderings:plain"} == {
        "heldout_psnr", "heldout_ssim", "split_psnr", "split_ssim", "silhouette_coherence",
    }  # fmt: skip
    assert found["plain", "sharpness"] == pytest.approx(1.0, abs=0.01)
    assert found["plain", "views_sharpness"] > 1.05
    unjudged = {(r.method, r.metric) for r in measure(manifest, truth, None, metrics)}
    assert {metric for method, metric in unjudged if method == "renderings:plain"} == {"silhouette_coherence"}
    assert found["renderings:plain", "silhouette_coherence"] == pytest.approx(1.0, abs=0.01)
