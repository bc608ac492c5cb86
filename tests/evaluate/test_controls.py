"""Controls: what each shows, named randomness, and a layout that scoring reads."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from torch import Tensor

from aligncvc.config.jobs.sample import ControlJob
from aligncvc.config.plan import Plan
from aligncvc.config.root import Config, parse_config
from aligncvc.errors import UserError, cli
from aligncvc.evaluate.samples import read_cost, read_gaussians, read_manifest, read_steps
from aligncvc.sample.control_views import (
    CONTROLS,
    ReadableObjects,
    control_set,
    copied_views,
    gt_views,
    jitter,
    jittered_views,
    shuffled_views,
)
from aligncvc.sample.controls import main
from aligncvc.scene.cameras import orbit, ring_azimuths_deg
from aligncvc.scene.gaussians import Gaussians
from aligncvc.scene.renderset import PosedObject, RenderSet
from aligncvc.scene.views import Views, save_views
from aligncvc.splat import rasterise
from aligncvc.streams import numpy_stream, torch_stream

RIG = [0, 2, 4, 6]


def views_of(name: str, size_px: int = 64) -> Views:
    """An eight-view ring of a coloured cloud, straight alpha; deterministic in the name."""
    g = torch_stream(0, "controls", name)
    count = 80
    gaussians = Gaussians(
        means=torch.randn(count, 3, generator=g) * torch.tensor([0.3, 0.2, 0.25]),
        scales=0.05 + 0.06 * torch.rand(count, 3, generator=g),
        quats=torch.nn.functional.normalize(torch.randn(count, 4, generator=g), dim=-1),
        opacities=torch.full((count,), 0.95),
        colors=torch.rand(count, 3, generator=g),
    )
    cameras = orbit(ring_azimuths_deg(8), 10.0, distance=3.0, fov_y_deg=39.6, size_px=size_px)
    black = rasterise(gaussians, cameras, background=0.0)
    rgb = (black.rgb / black.alpha.clamp_min(1e-4)).clamp(0, 1)
    return Views(torch.cat([rgb, black.alpha.clamp(0, 1)], 1), cameras)


def render_set(root: Path, names: list[str], unreadable: tuple[str, ...] = ()) -> Path:
    """A manifest as `python -m aligncvc.render` writes it."""
    for name in names:
        save_views(root / name, views_of(name), object=name, rigs={"rig": RIG, "ring": list(range(8))})
    for name in unreadable:
        (root / name).mkdir(parents=True)
    rows = [f"{name}\tok\t-\t\t1.0\t1\thash\tCC0-1.0\tnobody" for name in [*names, *unreadable]]
    header = "id\tstatus\tstage\treason\tseconds\tattempts\tjob_hash\tlicence\tcreator"
    (root / "manifest.tsv").write_text("\n".join([header, *rows]) + "\n")
    return root / "manifest.tsv"


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return render_set(tmp_path_factory.mktemp("renders"), ["a", "b", "c", "d", "e"])


@pytest.fixture(scope="module")
def objects(manifest: Path) -> dict[str, PosedObject]:
    renders = RenderSet(manifest, 64)
    return {name: renders.load(name) for name in renders.ids}


def test_readable_objects_are_read_when_asked_for(tmp_path: Path) -> None:
    renders = RenderSet(render_set(tmp_path, ["a", "b", "c", "d"], unreadable=("x",)), 64, kept=2)
    found = ReadableObjects(renders)
    assert list(found) == ["a", "b", "c", "d"] and len(found) == 4 and "x" in renders.ids
    assert renders.at.cache_info().currsize == 2
    held = {name: renders.load(name) for name in found}
    for seed in range(3):
        assert torch.equal(shuffled_views("b", found, 0, seed), shuffled_views("b", held, 0, seed))
    assert renders.at.cache_info().currsize == 2


def job_of(control: Literal["gt", "jitter", "shuffled", "copy"], **changes: Any) -> ControlJob:
    return Plan(Config()).control(control).model_copy(update=changes)


def truth(objects: dict[str, PosedObject], name: str) -> Tensor:
    return objects[name].views.on_white()[RIG]


def test_gt_is_the_truth_and_copy_the_input_at_every_pose(objects: dict[str, PosedObject]) -> None:
    assert torch.equal(gt_views("b", objects, 0, 0), truth(objects, "b"))
    copies = copied_views("b", objects, 0, 0)
    assert copies.shape == (4, 3, 64, 64)
    assert all(torch.equal(image, truth(objects, "b")[0]) for image in copies)


def test_shuffled_shows_other_objects_at_their_own_poses(objects: dict[str, PosedObject]) -> None:
    for seed in range(5):
        views = shuffled_views("b", objects, 0, seed)
        assert torch.equal(views[0], truth(objects, "b")[0])
        owners = [
            [n for n in objects if torch.equal(views[v], truth(objects, n)[v])] for v in range(1, len(RIG))
        ]
        assert all(len(owner) == 1 for owner in owners), "a true view of one object at this very pose"
        names = [owner[0] for owner in owners]
        assert "b" not in names and len(set(names)) == 3
    drawn = [shuffled_views("b", objects, 0, seed) for seed in range(5)]
    assert any(not torch.equal(drawn[0], other) for other in drawn[1:])
    assert torch.equal(drawn[3], shuffled_views("b", dict(reversed(objects.items())), 0, 3))


def test_shuffled_uses_an_object_twice_only_if_it_must(objects: dict[str, PosedObject]) -> None:
    three = {name: objects[name] for name in ("a", "b", "c")}
    views = shuffled_views("a", three, 0, 0)
    owners = [next(n for n in "bc" if torch.equal(views[v], truth(objects, n)[v])) for v in (1, 2, 3)]
    assert set(owners) == {"b", "c"}
    with pytest.raises(UserError, match="`shuffled` needs at least two objects and the set has one"):
        shuffled_views("a", {"a": objects["a"]}, 0, 0)


def test_jitter_disturbs_every_view_but_the_input_and_a_little(objects: dict[str, PosedObject]) -> None:
    for name in objects:
        wanted = truth(objects, name)
        jittered = jittered_views(name, objects, 0, 0)
        assert torch.equal(jittered[0], wanted[0])
        assert jittered.min() >= 0 and jittered.max() <= 1
        error = (jittered - wanted).abs().mean((1, 2, 3))
        shuffled = (shuffled_views(name, objects, 0, 0) - wanted).abs().mean((1, 2, 3))
        assert (error[1:] > 0.005).all()
        assert error[1:].mean() < shuffled[1:].mean()


def test_jitter_changes_the_object_not_the_background() -> None:
    rgba = torch.zeros(4, 64, 64)
    rgba[:, 24:40, 24:40] = torch.tensor([0.2, 0.5, 0.8, 1.0])[:, None, None]
    for seed in range(20):
        image = jitter(rgba, numpy_stream(seed, "test"))
        assert image.shape == (3, 64, 64)
        corners = image[:, [0, 0, -1, -1], [0, -1, 0, -1]]
        assert torch.equal(corners, torch.ones(3, 4))
        middle = image[:, 32, 32]  # 0.04 of the side and 6 degrees leave the square's middle inside
        expected = torch.tensor([0.2, 0.5, 0.8])
        assert ((middle - expected).abs() <= 0.15 * expected + 0.05 + 1e-6).all()
        inside = (image < 0.999).any(0).float()
        rows, columns = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
        centre = torch.stack([(grid * inside).sum() / inside.sum() for grid in (rows, columns)])
        assert ((centre - 31.5).abs() <= 0.04 * 64 + 0.3).all()
        assert 0.9**2 * 256 < inside.sum() < 1.1**2 * 256 + 4 * 17 * 2


@pytest.mark.parametrize("control", list(CONTROLS))
def test_equal_seeds_give_equal_images_and_others_where_chance_rules(
    objects: dict[str, PosedObject], control: str
) -> None:
    once, again, other, root = (
        CONTROLS[control]("c", objects, root, seed) for root, seed in ((0, 0), (0, 0), (0, 1), (1, 0))
    )
    assert torch.equal(once, again)
    if control == "jitter":
        assert not torch.equal(once, other) and not torch.equal(once, root)
    elif control in ("gt", "copy"):
        assert torch.equal(once, other) and torch.equal(once, root)


def test_a_control_is_a_sample_set_that_scoring_reads_and_comes_out_alike_twice(
    tmp_path: Path, objects: dict[str, PosedObject]
) -> None:
    manifest, job = render_set(tmp_path / "r", ["d"]), job_of("jitter")
    for folder in ("one", "two"):
        control_set(job, manifest, tmp_path / folder)
    found = read_manifest(tmp_path / "one")
    assert (found.pair, found.method, found.failed) == ("control", "control:jitter", {})
    assert found.rig is not None and found.rig.azimuths_deg == [0, 90, 180, 270]
    assert set(found.entries) == {("d", seed) for seed in job.seeds}
    path = found.path("d", job.seeds[0])
    views, renders = read_steps(path / "steps.npz", objects["d"])
    assert views.shape == renders.shape == (1, 4, 3, 64, 64)
    assert torch.allclose(views[0], jittered_views("d", objects, job.seed, job.seeds[0]), atol=0.51 / 255)
    gaussians = read_gaussians(path / "model.ply")
    drawn = rasterise(gaussians, objects["d"].rig_from(0)[1]).rgb.clamp(0, 1)
    assert torch.allclose(renders[0], drawn, atol=3 / 255), "the renderings are those of the model"
    cost = read_cost(path / "sample.json")
    assert cost["network_calls"] == 0 and cost["seconds"] > 0
    for file in sorted(p.relative_to(tmp_path / "one") for p in (tmp_path / "one").rglob("*") if p.is_file()):
        if file.name != "sample.json":  # it holds seconds
            assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes(), file
    with np.load(path / "steps.npz") as arrays:
        assert set(arrays) == {"views", "renders", "timesteps"}


def test_views_have_the_size_of_the_smallest_generator_which_the_job_and_its_hash_say(
    tmp_path: Path, objects: dict[str, PosedObject]
) -> None:
    """Where `views_px` lies outside the settings, changing it would leave old controls in place."""

    def job(size_px: int) -> ControlJob:
        network = {"kind": "wonder3d", "size_px": size_px}
        pairs = {"a+b": {"generator": {"network": network}, "reconstructor": "demo-lgm"}}
        return Plan(parse_config({"pairs": pairs}, "test")).control("gt")

    assert job(32).views_px == 32 and job(64).views_px == 64
    assert job(32).hash != job(64).hash and job(32).hash == job(32).hash
    manifest = render_set(tmp_path / "r", ["d"])
    control_set(job(32), manifest, tmp_path / "out")
    views, renders = read_steps(tmp_path / "out/d/seed0/steps.npz", objects["d"])
    assert views.shape[-1] == 32 and renders.shape[-1] == 64
    means = truth(objects, "d").unflatten(-1, (32, 2)).unflatten(-3, (32, 2)).mean((-3, -1))
    assert float((views[0] - means).abs().max()) < 0.51 / 255


def test_an_object_that_cannot_be_read_is_listed_and_the_others_go_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = render_set(tmp_path / "r", ["a", "b"], unreadable=("c",))
    control_set(job_of("gt", max_failure_rate=0.5), manifest, tmp_path / "out")
    found = read_manifest(tmp_path / "out")
    assert {name for name, _ in found.entries} == {"a", "b"} and "cameras.json" in found.failed["c"]
    assert "c is left out" in capsys.readouterr().err
    with pytest.raises(UserError, match=r"1 of 3 objects of .* failed, more than"):
        control_set(job_of("gt", max_failure_rate=0.0), manifest, tmp_path / "none")
    assert not (tmp_path / "none/manifest.json").exists()


def test_the_command_writes_a_set_or_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = render_set(tmp_path / "r", ["only"])

    def run(control: str, *given: str) -> int:
        arguments = ["controls", "--renders", str(manifest), "--out", str(tmp_path / control)]
        monkeypatch.setattr(sys, "argv", [*arguments, *(given or ("--control", control))])
        try:
            cli(main)
        except SystemExit as stop:
            return int(stop.code or 0)
        return 0

    assert run("copy") == 0
    assert "control:copy" in capsys.readouterr().out
    assert json.loads((tmp_path / "copy/manifest.json").read_text())["method"] == "control:copy"
    job_of("copy").write(tmp_path / "settings.json")
    assert run("from_settings", "--settings", str(tmp_path / "settings.json")) == 0
    steps = [tmp_path / folder / "only/seed0/steps.npz" for folder in ("copy", "from_settings")]
    assert steps[0].read_bytes() == steps[1].read_bytes()
    for control, reason in (
        ("shuffled", "needs at least two objects"),
        ("noise", "there is no control 'noise'"),
    ):
        assert run(control) == 2
        error = capsys.readouterr().err.splitlines()[-1]
        assert error.startswith("error: ") and reason in error
        assert not (tmp_path / control / "manifest.json").exists()
