"""Objects that come as frames go through the render stage without Blender, and Blender's own survive the
trip."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from render_scenes import Rendered, small_job

from aligncvc.config.jobs.objects import ObjectsJob
from aligncvc.config.objects import ObjectSet
from aligncvc.objects.fetch import fetch_set
from aligncvc.objects.frames import main
from aligncvc.render.results import read_status
from aligncvc.render.run import render_set
from aligncvc.scene.renderset import RenderSet
from aligncvc.scene.views import load_views, view_facts

DATA = Path(__file__).parents[1] / "objects/data/gobjaverse"


def stages(tree: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, **render: object) -> RenderSet:
    """List, objects stage and render stage of a tree; the set that training reads."""
    monkeypatch.setattr(sys, "argv", ["frames", "list", str(tree), "--out", str(folder / "list.tsv")])
    main()
    objects = ObjectSet(source="gobjaverse", path=str(tree), list=str(folder / "list.tsv"))
    fetch_set(ObjectsJob(set="frames", objects=objects), folder / "objects")
    render_set(small_job(**render), folder / "objects/manifest.tsv", folder / "out", workers=1)
    return RenderSet(folder / "out/manifest.tsv")


def test_frames_become_a_render_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_blender(*_: object) -> None:
        raise AssertionError("Blender was started")

    monkeypatch.setattr("aligncvc.render.run.Worker", no_blender)
    renders = stages(DATA, tmp_path, monkeypatch, size_px=32)
    assert renders.ids == ["gobjaverse-0-10022", "gobjaverse-0-10023", "gobjaverse-1-5001"]
    images, cameras = renders.load("gobjaverse-0-10022").rig_from(0)
    assert images.shape == (4, 3, 32, 32) and cameras.fov_y_deg == pytest.approx(39.6)
    assert float(cameras.positions[0, 0]) == pytest.approx(0, abs=1e-5), "the input view at azimuth 0"
    facts = view_facts(tmp_path / "out/gobjaverse-0-10022")
    assert facts["renderer"] == {"engine": "GObjaverse's frames"} and facts["licence"] == "unknown"

    times = {name: (tmp_path / "out" / name / "cameras.json").stat().st_mtime_ns for name in renders.ids}
    render_set(small_job(size_px=32), tmp_path / "objects/manifest.tsv", tmp_path / "out", workers=1)
    assert times == {name: (tmp_path / "out" / name / "cameras.json").stat().st_mtime_ns for name in times}


def test_frames_that_cannot_serve_are_failed_objects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stages(DATA, tmp_path, monkeypatch, size_px=32)
    job = small_job(size_px=32, ring_views=12, max_failure_rate=1.0)
    render_set(job, tmp_path / "objects/manifest.tsv", tmp_path / "other", workers=1)
    status = read_status(tmp_path / "other", "gobjaverse-0-10023")
    assert status is not None and status.stage == "source" and "ring of 12" in status.reason
    job = small_job(looks=2, size_px=32, max_failure_rate=1.0)
    render_set(job, tmp_path / "objects/manifest.tsv", tmp_path / "looks", workers=1)
    status = read_status(tmp_path / "looks", "gobjaverse-0-10023.v1")
    assert status is not None and "set `variants` of this object set to 1" in status.reason


@pytest.mark.blender
def test_blenderproc_s_renders_survive_the_trip(
    rendered: Rendered, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rendered here, written in GObjaverse's layout, read back: the same pixels, cameras and geometry."""
    monkeypatch.setattr(sys, "argv", ["frames", "export", str(rendered.out), "--out", str(tmp_path / "tree")])
    main()
    renders = stages(tmp_path / "tree", tmp_path, monkeypatch, size_px=rendered.job.render.size_px)
    names = sorted(path.parent.name for path in rendered.out.glob("*/cameras.json"))
    assert len(renders) == len(names) == 2
    for name, object_id in zip(names, renders.ids, strict=True):
        before, after = load_views(rendered.out / name), renders.load(object_id).views
        torch.testing.assert_close(after.cameras.c2w, before.cameras.c2w, atol=1e-5, rtol=0)
        torch.testing.assert_close(after.on_white(), before.on_white(), atol=1.5 / 255, rtol=0)
        torch.testing.assert_close(after.depth, before.depth, atol=3e-3, rtol=0)
        torch.testing.assert_close(after.normals, before.normals, atol=3e-3, rtol=0)
