"""The bench measures what it says: a real object, every family, growth, and a finished run's rules."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from aligncvc.bench.evaluation import (
    DEMO_GOAL_SECONDS,
    RIG,
    RING,
    bench_subject,
    demo_evaluation,
    families,
    growth,
    seconds,
    without_vgg,
)
from aligncvc.config.protocols import load_protocol
from aligncvc.config.sections import load_config
from aligncvc.evaluate.lint import lint_views
from aligncvc.evaluate.subject import Subject, Value
from aligncvc.evaluate.tools import Tools, load_tools
from aligncvc.metrics.psnr import psnr


@pytest.fixture(scope="module")
def subject() -> Subject:
    return bench_subject(size_px=64, gaussians=2048)


@pytest.fixture(scope="module")
def tools() -> Tools:
    config = load_config(None)
    return load_tools(config, without_vgg(config.protocol))


def test_the_subject_is_a_clean_object_and_a_rough_guess_of_it(subject: Subject) -> None:
    assert lint_views(subject.truth.rgba, subject.truth.cameras, where="bench", expected=RING) == []
    assert subject.views is not None
    assert subject.views.shape == (1, len(RIG), 3, 64, 64)
    assert subject.model is not None
    drawn = subject.model.draw(subject.truth.cameras, 1.0).rgb
    score = float(psnr(drawn, subject.truth.on_white()).mean())
    assert 15 < score < 35


def test_the_subject_is_the_same_every_time(subject: Subject) -> None:
    again = bench_subject(size_px=64, gaussians=2048)
    assert subject.views is not None
    assert again.views is not None
    assert torch.equal(again.views, subject.views)
    assert torch.equal(again.truth.rgba, subject.truth.rgba)


def test_every_family_has_values(subject: Subject, tools: Tools) -> None:
    found = {name: run() for name, run in families(subject, tools).items()}
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
        values = found[name]
        assert isinstance(values, list)
        assert metric in {value.metric for value in values if isinstance(value, Value)}
    assert "lpips_vgg" not in {value.metric for value in found["image"]}  # type: ignore[attr-defined]


def test_without_vgg_changes_nothing_else() -> None:
    protocol = load_protocol("demo")
    both = protocol.metrics.lpips.model_copy(update={"nets": ["alex", "vgg"]})
    given = protocol.model_copy(update={"metrics": protocol.metrics.model_copy(update={"lpips": both})})
    assert without_vgg(given).metrics.lpips.nets == ["alex"]
    assert without_vgg(given).metrics.dists == given.metrics.dists
    assert without_vgg(given).render == given.render


class Clock:
    """Time that passes only when told to: a busy machine does not change what is measured."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        monkeypatch.setattr(time, "perf_counter", lambda: self.now)

    def wait(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def test_growth_counts_objects(
    subject: Subject, tools: Tools, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(of: Subject, with_tools: Tools) -> dict[str, Callable[[], object]]:
        def views() -> object:
            clock.wait(2.0)
            return real(of, with_tools)["views"]()

        return {"views": views, "distribution": lambda: pytest.fail("of a set, not of an object")}

    real = families
    monkeypatch.setattr("aligncvc.bench.evaluation.families", slow)
    assert growth([subject] * 3, tools, (1, 3)) == {1: 2.0, 3: 6.0}


def test_seconds_is_a_median_of_warm_runs(clock: Clock) -> None:
    pauses = iter([0.25, 0.5, 8.0, 1.0])  # the first warms up, one is an outlier
    assert seconds(lambda: clock.wait(next(pauses)), 3) == 1.0


def test_the_demos_evaluation_is_its_jobs_over_the_cores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    assert demo_evaluation(tmp_path) == []
    folder = tmp_path / "benchmarks/evaluate"
    folder.mkdir(parents=True)
    (folder / "a.jsonl").write_text(json.dumps({"s": 1.0}) + "\n" + json.dumps({"s": 2.5}) + "\n")
    (folder / "b.jsonl").write_text(json.dumps({"s": 4.0}) + "\n")
    assert demo_evaluation(tmp_path) == [("demo_evaluation", 3.25, "s", DEMO_GOAL_SECONDS)]
