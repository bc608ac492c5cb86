"""The command on small synthetic objects: Gaussians, their own renders as ground truth, known damage."""

from __future__ import annotations

import json
import math
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from aligncvc.cameras import orbit, ring_azimuths_deg
from aligncvc.errors import UserError, cli
from aligncvc.evaluate import Record, concat, read_records
from aligncvc.evaluate.__main__ import main
from aligncvc.gaussians import Gaussians, save_ply
from aligncvc.splat import rasterise
from aligncvc.streams import torch_stream
from aligncvc.views import Views, save_views

RIG = [0, 2, 4, 6]
OBJECTS = ("ball", "cone")


def cloud(name: str, size_px: int, ring_start: float = 0.0) -> tuple[Gaussians, Views]:
    """A coloured cloud, and its eight-view ring as straight-alpha RGBA; deterministic in the name."""
    g = torch_stream(0, "cloud", name)
    count = 200
    gaussians = Gaussians(
        means=torch.randn(count, 3, generator=g) * torch.tensor([0.35, 0.2, 0.25]),
        scales=0.04 + 0.06 * torch.rand(count, 3, generator=g),
        quats=torch.nn.functional.normalize(torch.randn(count, 4, generator=g), dim=-1),
        opacities=0.5 + 0.5 * torch.rand(count, generator=g),
        colors=torch.rand(count, 3, generator=g),
    )
    cameras = orbit(ring_azimuths_deg(8, ring_start), 10.0, distance=3.0, fov_y_deg=39.6, size_px=size_px)
    black = rasterise(gaussians, cameras, background=0.0)
    rgb = (black.rgb / black.alpha.clamp_min(1e-4)).clamp(0, 1)
    return gaussians, Views(torch.cat([rgb, black.alpha.clamp(0, 1)], 1), cameras)


def to_bytes(images: torch.Tensor) -> np.ndarray:
    return (images * 255).round().byte().permute(0, 1, 3, 4, 2).numpy()


class World:
    """A render set, and samples made from the very Gaussians it shows."""

    def __init__(self, root: Path, size_px: int = 64) -> None:
        self.root, self.size_px = root, size_px
        self.renders, self.sample, self.out = (
            root / "renders/eval/manifest.tsv",
            root / "ours_3",
            root / "m/ours_3.csv",
        )
        for name in OBJECTS:
            self._write(name)
        rows = [f"{name}\tok\t-\t\t1.0\t1\thash\tCC0-1.0\tnobody" for name in OBJECTS]
        rows.append("broken\tfailed\timport\tno mesh\t0.1\t2\thash\tCC0-1.0\tnobody")
        header = "id\tstatus\tstage\treason\tseconds\tattempts\tjob_hash\tlicence\tcreator"
        self.renders.write_text("\n".join([header, *rows]) + "\n")
        self.entries = [{"object": name, "seed": 0, "path": f"{name}/seed0"} for name in OBJECTS]
        self.write_manifest()
        self.configure()

    def configure(self, **evaluate: object) -> None:
        (self.root / "config.yaml").write_text(
            yaml.safe_dump({"pair": "A + B", "evaluate": evaluate, "sample": {"seeds": [0]}})
        )

    def write_manifest(self, failed: list[dict[str, str]] | None = None) -> None:
        content = {"method": "ours_3", "entries": self.entries, "failed": failed or []}
        (self.sample / "manifest.json").write_text(json.dumps(content))

    def _write(self, name: str) -> None:
        gaussians, views = cloud(name, self.size_px)
        folder = self.sample / name / "seed0"
        folder.mkdir(parents=True)
        save_views(
            self.renders.parent / name,
            views,
            object=name,
            rigs={"rig": RIG, "ring": list(range(8))},
            source_sha256="0" * 64,
        )
        save_ply(folder / "model.ply", gaussians)
        white = views.on_white()[RIG]
        # Three kept steps, renderings off by 51, 25 and 0 levels: a curve known in closed form.
        grey = torch.full_like(white, 100 / 255)
        steps_views = torch.stack([grey, grey, white])
        steps_renders = torch.stack([grey + 51 / 255, grey + 25 / 255, white])
        np.savez_compressed(
            folder / "steps.npz",
            views=to_bytes(steps_views),
            renders=to_bytes(steps_renders),
            timesteps=np.array([999, 749, 299]),
        )
        (folder / "sample.json").write_text(
            json.dumps(
                {
                    "method": "ours_3",
                    "object": name,
                    "seed": 0,
                    "steps": 3,
                    "network_calls": 6,
                    "seconds": 1.25,
                    "seconds_by_part": {},
                    "peak_mb": 100.5,
                }
            )
        )

    def run(self, monkeypatch: pytest.MonkeyPatch) -> int:
        arguments = {
            "config": self.root / "config.yaml",
            "sample": self.sample,
            "renders": self.renders,
            "out": self.out,
        }
        monkeypatch.setattr(
            sys, "argv", ["evaluate", *(str(x) for k, v in arguments.items() for x in (f"--{k}", v))]
        )
        try:
            cli(main)
        except SystemExit as stop:
            return int(stop.code or 0)
        return 0

    def value(self, metric: str, view: int = -1, step: int = -1, name: str = "ball") -> float:
        found = [
            r.value
            for r in read_records(self.out)
            if (r.metric, r.view, r.step, r.object) == (metric, view, step, name)
        ]
        assert len(found) == 1, (metric, view, step, found)
        return found[0]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> World:
    """One undamaged evaluation, for the tests that only read."""
    world = World(tmp_path_factory.mktemp("world"))
    with pytest.MonkeyPatch.context() as patch:
        assert world.run(patch) == 0
    return world


@pytest.fixture
def world(tmp_path: Path, finished: World) -> World:
    """A private copy to damage."""
    shutil.copytree(finished.root, tmp_path / "w")
    copy = object.__new__(World)
    copy.__dict__.update(finished.__dict__)
    for key in ("root", "renders", "sample", "out"):
        setattr(copy, key, tmp_path / "w" / getattr(finished, key).relative_to(finished.root))
    return copy


def test_the_true_model_scores_as_the_truth(finished: World) -> None:
    assert finished.value("psnr") > 45  # what 8-bit straight alpha leaves
    assert finished.value("ssim") > 0.999
    assert finished.value("lpips") < 1e-3
    assert finished.value("fg_psnr") > 40
    assert finished.value("views_psnr") > 45


def test_the_consistency_curve_is_the_closed_form(finished: World) -> None:
    assert finished.value("residual_psnr", step=1) == pytest.approx(-20 * math.log10(51 / 255), abs=1e-4)
    assert finished.value("residual_psnr", step=2) == pytest.approx(-20 * math.log10(25 / 255), abs=1e-4)
    assert finished.value("residual_psnr", step=3) == 100
    assert finished.value("residual_ssim", step=3) == 1
    assert finished.value("residual_lpips", step=3) == 0
    assert finished.value("residual_lpips", step=1) > finished.value("residual_lpips", step=2) > 0


def test_every_view_and_every_cost_is_recorded(finished: World) -> None:
    records = read_records(finished.out)
    mine = [r for r in records if r.object == "cone"]
    for metric in ("psnr", "ssim", "lpips", "fg_psnr"):
        per_view = [r for r in mine if r.metric == metric and r.view >= 0]
        assert [r.view for r in per_view] == list(range(8))
        mean = sum(r.value for r in per_view) / 8
        assert finished.value(metric, name="cone") == pytest.approx(mean, rel=1e-6)
    assert {r.view for r in mine if r.metric == "views_psnr"} == {-1, *RIG}
    assert {(r.view, r.step) for r in mine if r.metric == "residual_lpips"} == {
        (v, s) for v in (-1, *RIG) for s in (1, 2, 3)
    }
    assert (finished.value("network_calls"), finished.value("seconds"), finished.value("peak_mb")) == (
        6,
        1.25,
        100.5,
    )
    assert finished.value("failed") == 0
    assert {(r.method, r.pair, r.dataset, r.seconds, r.peak_mb) for r in records} == {
        ("ours_3", "A + B", "eval", 1.25, 100.5)
    }
    keys = [(r.object, r.seed, r.metric, r.view, r.step) for r in records]
    assert len(keys) == len(set(keys))


def test_two_runs_write_the_same_bytes(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    before = world.out.read_bytes()
    world.out.unlink()
    assert world.run(monkeypatch) == 0
    assert world.out.read_bytes() == before


def test_a_damaged_model_scores_lower_and_the_views_do_not(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {m: world.value(m) for m in ("psnr", "ssim", "lpips", "fg_psnr", "views_psnr")}
    gaussians, _ = cloud("ball", world.size_px)
    save_ply(world.sample / "ball/seed0/model.ply", replace(gaussians, means=gaussians.means + 0.05))
    assert world.run(monkeypatch) == 0
    for metric in ("psnr", "ssim", "fg_psnr"):
        assert world.value(metric) < before[metric] - 0.02
    assert world.value("lpips") > before["lpips"] + 0.01
    assert world.value("views_psnr") == before["views_psnr"]


def test_a_mirrored_or_turned_model_is_found_out(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    gaussians, _ = cloud("ball", world.size_px)
    turned = gaussians.means[:, [1, 0, 2]] * torch.tensor([-1.0, 1.0, 1.0])  # 90 degrees about z
    save_ply(world.sample / "ball/seed0/model.ply", replace(gaussians, means=turned))
    assert world.run(monkeypatch) == 0
    assert world.value("psnr") < 30


def test_a_ring_that_starts_elsewhere_is_turned_to_the_input_view(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The model lives in the input view's frame, whatever azimuth the ring's first camera has."""
    gaussians, views = cloud("ball", world.size_px, ring_start=90.0)
    save_views(world.renders.parent / "ball", views, rigs={"rig": RIG, "ring": list(range(8))})
    # The input camera stood at azimuth 90, so the model of the sampler is turned by -90 about z.
    mirror = torch.tensor([1.0, -1.0, 1.0])
    means = gaussians.means[:, [1, 0, 2]] * mirror
    w, x, y, z = gaussians.quats.unbind(-1)
    half = math.sqrt(0.5)  # the quaternion (half, 0, 0, -half) times each rotation
    quats = half * torch.stack([w + z, x + y, y - x, z - w], -1)
    save_ply(world.sample / "ball/seed0/model.ply", replace(gaussians, means=means, quats=quats))
    assert world.run(monkeypatch) == 0
    assert world.value("psnr") > 45


def test_held_out_leaves_the_rig_out(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    old = world.out.rename(world.out.with_name("ring.csv"))
    world.out.with_name("ours_3.protocol.json").rename(world.out.with_name("ring.protocol.json"))
    world.configure(views="held_out")
    assert world.run(monkeypatch) == 0
    assert {r.view for r in read_records(world.out) if r.metric == "psnr"} == {-1, 1, 3, 5, 7}

    with pytest.raises(UserError, match=r"differently \(views\)"):
        concat([old, world.out])


def test_the_protocol_is_of_the_data_not_of_the_method(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def protocol() -> str:
        found = {r.protocol for r in read_records(world.out)}
        assert len(found) == 1
        return found.pop()

    first = protocol()
    (world.sample / "cone/seed0/model.ply").unlink()
    assert world.run(monkeypatch) == 0
    assert protocol() == first
    world.configure(background=0.0)
    assert world.run(monkeypatch) == 0
    second = protocol()
    world.configure()
    _, views = cloud("ball", world.size_px)
    save_views(world.renders.parent / "ball", replace(views, rgba=views.rgba.flip(-1)), rigs={"rig": RIG})
    assert world.run(monkeypatch) == 0
    assert len({first, second, protocol()}) == 3


@pytest.mark.parametrize(
    "damage", ["model", "truncated", "steps", "shape", "facts", "entry", "listed", "truth"]
)
def test_a_failure_is_counted_and_the_rest_goes_on(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], damage: str
) -> None:
    folder = world.sample / "cone/seed0"
    if damage == "model":
        (folder / "model.ply").unlink()
    elif damage == "truncated":
        (folder / "model.ply").write_bytes((folder / "model.ply").read_bytes()[:-7])
    elif damage == "steps":
        (folder / "steps.npz").write_bytes(b"not a zip")
    elif damage == "shape":
        np.savez(
            folder / "steps.npz",
            views=np.zeros((3, 4, 32, 32, 3), np.uint8),
            renders=np.zeros((3, 4, 32, 32, 3), np.uint8),
        )
    elif damage == "facts":
        (folder / "sample.json").write_text("{}")
    elif damage == "entry":
        world.entries = [e for e in world.entries if e["object"] != "cone"]
        world.write_manifest()
    elif damage == "listed":
        world.entries = [e for e in world.entries if e["object"] != "cone"]
        world.write_manifest(failed=[{"object": "cone", "reason": "could not be read that day"}])
    else:
        (world.renders.parent / "cone/003.png").unlink()
    assert world.run(monkeypatch) == 0
    cone: list[Record] = [r for r in read_records(world.out) if r.object == "cone"]
    assert [(r.metric, r.value) for r in cone] == [("failed", 1.0)]
    assert world.value("failed") == 0 and world.value("psnr") > 45
    captured = capsys.readouterr()
    assert "failed: cone/seed0: " in captured.err and "1 of 2 samples" in captured.out
    if damage == "listed":
        assert "could not be read that day" in captured.err
    provenance = json.loads(Path(f"{world.out}.provenance.json").read_text())
    assert list(provenance["failures"]) == ["cone/seed0"]


def test_nothing_to_score_is_an_error(world: World, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    world.entries = []
    world.write_manifest()
    world.out.unlink()
    assert world.run(monkeypatch) == 2
    assert "could be scored" in capsys.readouterr().err
    assert not world.out.exists()


def test_samples_of_another_set_are_an_error(world: World, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    world.entries.append({"object": "stranger", "seed": 0, "path": "ball/seed0"})
    world.write_manifest()
    assert world.run(monkeypatch) == 2
    assert "stranger (seed 0)" in capsys.readouterr().err


def test_no_sample_folder_is_an_error(world: World, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    shutil.rmtree(world.sample)
    assert world.run(monkeypatch) == 2
    assert "run python -m aligncvc.sample first" in capsys.readouterr().err


def test_below_64_px_lpips_has_no_value_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    small = World(tmp_path, size_px=32)
    assert small.run(monkeypatch) == 0
    assert "lpips: n/a (images below 64 px)" in capsys.readouterr().err
    assert math.isnan(small.value("lpips")) and math.isnan(small.value("residual_lpips", step=1))
    assert small.value("psnr") > 40
