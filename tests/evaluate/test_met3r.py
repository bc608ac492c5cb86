"""MEt3R: pairs, both orders, the mask, records and the sentences of the optional rule."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from aligncvc.config.protocols import load_protocol
from aligncvc.errors import UserError
from aligncvc.evaluate.ground_truth import GroundTruth
from aligncvc.evaluate.met3r import (
    IMAGE_PX,
    LICENCE,
    load_scorer,
    met3r_family,
    met3r_scores,
    neighbours,
)
from aligncvc.evaluate.records import MEAN_VIEW, Record
from aligncvc.evaluate.samples import read_manifest
from aligncvc.evaluate.score import sampled_method, score_trials
from aligncvc.metrics.psnr import masked_mean
from aligncvc.models.specs import CheckpointAccess
from aligncvc.scene.cameras import orbit, ring_azimuths_deg
from aligncvc.scene.gaussians import Gaussians, save_ply
from aligncvc.scene.views import Views, save_views


def grey(*levels: float) -> Tensor:
    """Views (V, 3, 64, 64) that are white but for a grey left half."""
    views = torch.ones(len(levels), 3, 64, 64)
    for view, level in zip(views, levels, strict=True):
        view[:, :, :32] = level
    return views


def first_level(pair: Tensor) -> tuple[Tensor, Tensor]:
    """A score of the order: the first image's own grey, everywhere overlapping; nonsense on background."""
    level = (pair[:, 0, 0, :, :1] + 1) / 2
    score = level.expand(-1, -1, pair.shape[-1]).clone()
    score[..., pair.shape[-1] // 2 :] = math.nan
    return score, torch.ones_like(score)


def test_pairs_are_the_neighbours_of_a_closed_rig_each_once() -> None:
    assert neighbours(4) == [(0, 1), (1, 2), (2, 3), (3, 0)]
    assert neighbours(2) == [(0, 1)]
    with pytest.raises(UserError, match="two views"):
        neighbours(1)


def test_both_orders_are_averaged_over_the_first_images_foreground() -> None:
    scores = met3r_scores(first_level, grey(0.2, 0.4, 0.8), [(0, 1), (2, 0)])
    assert scores.dtype == torch.float64
    assert torch.allclose(scores, torch.tensor([0.3, 0.5], dtype=torch.float64), atol=1e-6)
    swapped = met3r_scores(first_level, grey(0.2, 0.4, 0.8), [(1, 0), (0, 2)])
    assert torch.equal(scores, swapped)


def test_the_scorer_sees_the_package_s_range_size_and_layout() -> None:
    seen: list[Tensor] = []

    def spy(pair: Tensor) -> tuple[Tensor, Tensor]:
        seen.append(pair)
        return first_level(pair)

    met3r_scores(spy, grey(0.0, 1 / 4), [(0, 1)])
    assert [tuple(pair.shape) for pair in seen] == [(1, 2, 3, IMAGE_PX, IMAGE_PX)] * 2
    assert seen[0].min() == -1 and seen[0].max() == 1
    assert torch.equal(seen[0].flip(1), seen[1])


def test_only_the_mask_counts_and_an_empty_one_has_no_value() -> None:
    score = torch.tensor([[[0.5, math.nan], [1.5, 9.0]]])
    assert masked_mean(score, torch.tensor([[[1, 0], [1, 0]]])).tolist() == [1.0]
    assert torch.isnan(masked_mean(score, torch.zeros(1, 2, 2))).all()


def test_an_order_without_foreground_leaves_the_other() -> None:
    assert met3r_scores(first_level, grey(1.0, 0.4), [(0, 1)]).tolist() == [pytest.approx(0.4)]
    assert math.isnan(met3r_scores(first_level, grey(1.0, 1.0), [(0, 1)])[0])


@pytest.mark.skipif(torch.cuda.is_available(), reason="says what a machine without a GPU is told")
def test_licence_first_then_the_gpu() -> None:
    with pytest.raises(UserError, match=rf"{LICENCE}.*checkpoints\.accept_licences"):
        load_scorer(CheckpointAccess())
    with pytest.raises(UserError, match="CUDA GPU"):
        load_scorer(CheckpointAccess(accept_licences=[LICENCE], offline=False))


def test_a_missing_package_and_no_network_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.raises(UserError, match=r"checkpoints\.offline"):
        load_scorer(CheckpointAccess(accept_licences=[LICENCE]))
    monkeypatch.setitem(sys.modules, "met3r", None)
    with pytest.raises(UserError, match="met3r cannot be imported"):
        load_scorer(CheckpointAccess(accept_licences=[LICENCE], offline=False))


def test_records_of_the_last_step_by_pair_and_what_failed(tmp_path: Path) -> None:
    protocol = load_protocol("demo")
    rig, count = protocol.render.rig_indices, protocol.render.ring_views
    cameras = orbit(ring_azimuths_deg(count), 10.0, distance=3.0, fov_y_deg=39.6, size_px=64)
    rgba = torch.zeros(count, 4, 64, 64)
    rgba[:, 3, 16:48, 16:48] = 1
    rgba[:, 0, 16:48, 16:48] = torch.linspace(0, 1, count)[:, None, None]
    for name in ("cup", "lost"):
        save_views(tmp_path / "eval" / name, Views(rgba, cameras), rigs={"rig": rig})
    renders = tmp_path / "eval" / "manifest.tsv"
    renders.write_text("id\tstatus\tjob_hash\ncup\tok\ta\nlost\tok\tb\n")
    sample = tmp_path / "control-gt"
    (sample / "cup").mkdir(parents=True)
    last = (grey(0.2, 0.4, 0.6, 0.8).permute(0, 2, 3, 1) * 255).round().byte().numpy()
    steps = np.stack([np.zeros_like(last), last])
    np.savez(sample / "cup/steps.npz", views=steps, renders=steps)
    (sample / "cup/sample.json").write_text('{"network_calls": 0, "seconds": 1.5, "peak_mb": 7}')
    entries = [{"object": "cup", "seed": 0, "path": "cup"}]
    one = Gaussians(*(torch.ones(1, n) for n in (3, 3, 4)), torch.ones(1), torch.ones(1, 3))
    save_ply(sample / "cup/model.ply", one)
    manifest = {"pair": "control", "method": "control:gt", "entries": entries}
    (sample / "manifest.json").write_text(json.dumps(manifest))
    truth = GroundTruth(protocol, renders, None)

    def records() -> tuple[list[Record], dict[str, str]]:
        method = sampled_method(read_manifest(sample), truth)
        return score_trials(method, truth, lambda trial: met3r_family(trial, first_level))

    found, failures = records()
    scores = [r for r in found if r.metric == "met3r"]
    assert [r.view for r in scores] == [*rig, MEAN_VIEW]
    assert [r.value for r in scores] == pytest.approx([0.3, 0.5, 0.7, 0.5, 0.5], abs=2e-3)
    row = scores[-1]
    assert (row.pair, row.method, row.dataset, row.object) == ("control", "control:gt", "eval", "cup")
    assert (row.protocol, row.seconds, row.peak_mb) == (protocol.hash, 1.5, 7)
    assert list(failures) == ["lost/seed0"]
    (sample / "cup/steps.npz").unlink()
    with pytest.raises(UserError, match=r"nothing of control:gt could be scored"):
        records()
