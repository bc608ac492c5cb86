"""The bench measures what it says: a real object, every family, growth, and a finished run's rules."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from aligncvc.bench import evaluation as bench
from aligncvc.bench.demo import EVALUATION_SECONDS, demo_evaluation
from aligncvc.config.jobs.evaluate import EvaluateJob
from aligncvc.config.plan import Plan
from aligncvc.evaluate.lint import lint_views
from aligncvc.evaluate.networks import Networks, load_networks
from aligncvc.evaluate.trial import Trial
from aligncvc.metrics.psnr import psnr


@pytest.fixture(scope="module")
def trial() -> Trial:
    return bench.bench_trial(size_px=64, gaussians=2048)


@pytest.fixture(scope="module")
def job(plan: Plan) -> EvaluateJob:
    return bench.without_vgg(plan.evaluate())


@pytest.fixture(scope="module")
def networks(job: EvaluateJob) -> Networks:
    return load_networks(job)


def test_the_trial_is_a_clean_object_and_a_rough_guess_of_it(trial: Trial) -> None:
    assert lint_views(trial.truth.rgba, trial.truth.cameras, where="bench", expected=bench.RING) == []
    assert trial.views is not None
    assert trial.views.shape == (1, len(bench.RIG), 3, 64, 64)
    assert trial.model is not None
    drawn = trial.model.draw(trial.truth.cameras, 1.0).rgb
    score = float(psnr(drawn, trial.truth.on_white()).mean())
    assert 15 < score < 35


def test_the_trial_is_the_same_every_time(trial: Trial) -> None:
    again = bench.bench_trial(size_px=64, gaussians=2048)
    assert trial.views is not None
    assert again.views is not None
    assert torch.equal(again.views, trial.views)
    assert torch.equal(again.truth.rgba, trial.truth.rgba)
    assert torch.equal(again.model.gaussians.means, trial.model.gaussians.means)  # type: ignore[union-attr]


def test_every_family_has_values(trial: Trial, job: EvaluateJob, networks: Networks) -> None:
    found = {name: run() for name, run in bench.families(trial, job, networks).items()}
    expected = {
        "image": "psnr",
        "views": "views_psnr",
        "consistency": "split_psnr",
        "epipolar": "matches",
        "geometry": "chamfer_half_sum@none",
        "distribution": "frechet_lite0_renders",
    }
    assert found.keys() == expected.keys()
    for name, metric in expected.items():
        assert metric in {value.metric for value in found[name]}
    assert "lpips_vgg" not in {value.metric for value in found["image"]}


def test_ours_are_the_references_numbers(trial: Trial, networks: Networks) -> None:
    found = {name: run() for name, run in bench.images_against_references(trial, networks).items()}
    values = {name: torch.tensor([float(v) for v in numbers]) for name, numbers in found.items()}  # type: ignore[attr-defined]
    torch.testing.assert_close(values["ssim"], values["scikit-image"])
    torch.testing.assert_close(values["lpips"], values["one by one"])


def test_without_vgg_changes_nothing_else(plan: Plan) -> None:
    given = plan.evaluate()
    bare = bench.without_vgg(given)
    assert bare.protocol.metrics.lpips.nets == ["alex"]
    assert bare.protocol.metrics.dists == given.protocol.metrics.dists
    assert bare.protocol.render == given.protocol.render and bare.judge == given.judge


def test_growth_counts_objects(
    trial: Trial, job: EvaluateJob, networks: Networks, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]

    def slow(*_: Any) -> list[object]:
        now[0] += 2.0
        return []

    monkeypatch.setattr(bench, "score_trial", slow)
    monkeypatch.setattr(bench, "COUNTS", (1, 3))
    assert bench.growth([trial] * 3, job, networks, lambda: now[0]) == {1: 2.0, 3: 6.0}


def test_the_demos_evaluation_is_its_jobs_over_the_cores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    assert demo_evaluation(tmp_path) == []
    folder = tmp_path / "benchmarks/evaluate/pair"
    folder.mkdir(parents=True)
    (folder / "a.jsonl").write_text(json.dumps({"s": 1.0}) + "\n" + json.dumps({"s": 2.5}) + "\n")
    (folder / "b.jsonl").write_text(json.dumps({"s": 4.0}) + "\n")
    (row,) = demo_evaluation(tmp_path)
    assert (row["name"], row["value"], row["reference"]) == ("demo_evaluation", 3.25, EVALUATION_SECONDS)
