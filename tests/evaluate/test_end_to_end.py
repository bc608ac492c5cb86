"""The command on small synthetic objects: Gaussians, their own renders as ground truth, known damage."""

from __future__ import annotations

import json
import math
import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from aligncvc.config.jobs.evaluate import EvaluateJob
from aligncvc.config.pairing import judged
from aligncvc.config.plan import Plan
from aligncvc.config.protocols import FOLDER, load_protocol
from aligncvc.config.root import load_config
from aligncvc.errors import UserError, cli
from aligncvc.evaluate import __main__ as command
from aligncvc.evaluate import families
from aligncvc.evaluate.families import geometry_family
from aligncvc.evaluate.networks import Networks, load_networks
from aligncvc.evaluate.records import Record, concat, read_records
from aligncvc.evaluate.trial import Trial, Value
from aligncvc.meshes import mesh_from_gaussians, save_glb
from aligncvc.scene.cameras import orbit, ring_azimuths_deg
from aligncvc.scene.gaussians import Gaussians, save_ply
from aligncvc.scene.views import Views, save_views
from aligncvc.splat import rasterise
from aligncvc.streams import torch_stream

RIG = [0, 2, 4, 6]
OBJECTS = ("ball", "cone")
NARROW = {
    "network": {"kind": "lgm", "mid_attention": False}
    | {f"{end}_channels": [8] * 4 for end in ("down", "up")}
    | {f"{end}_attention": [False] * 4 for end in ("down", "up")}
}
"""A judge of random weights: its numbers mean nothing, and it is quick."""


@pytest.fixture(scope="module", autouse=True)
def networks_loaded_once() -> Iterator[None]:
    """The real networks, loaded once for each protocol."""
    loaded: dict[str, Networks] = {}

    def load(job: EvaluateJob) -> Networks:
        if job.protocol.hash not in loaded:
            loaded[job.protocol.hash] = load_networks(job)
        return loaded[job.protocol.hash]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(command, "load_networks", load)
        yield


def cloud(name: str, size_px: int, ring_start: float = 0.0) -> tuple[Gaussians, Views]:
    """A coloured cloud, and its eight-view ring as straight-alpha RGBA with depth; the name decides."""
    g = torch_stream(0, "cloud", name)
    count = 200
    gaussians = Gaussians(
        means=torch.randn(count, 3, generator=g) * torch.tensor([0.25, 0.15, 0.2]),
        scales=0.04 + 0.04 * torch.rand(count, 3, generator=g),
        quats=torch.nn.functional.normalize(torch.randn(count, 4, generator=g), dim=-1),
        opacities=0.5 + 0.5 * torch.rand(count, generator=g),
        colors=torch.rand(count, 3, generator=g),
    )
    cameras = orbit(ring_azimuths_deg(8, ring_start), 10.0, distance=3.0, fov_y_deg=39.6, size_px=size_px)
    black = rasterise(gaussians, cameras, background=0.0)
    rgb = (black.rgb / black.alpha.clamp_min(1e-4)).clamp(0, 1)
    depth = (black.depth / black.alpha.clamp_min(0.5)).where(black.alpha > 0.5, torch.tensor(0.0))
    return gaussians, Views(torch.cat([rgb, black.alpha.clamp(0, 1)], 1), cameras, depth[:, 0])


def to_bytes(images: torch.Tensor) -> np.ndarray:
    return (images * 255).round().byte().permute(0, 1, 3, 4, 2).numpy()


VOXEL = 0.03
"""Of the true surfaces and, by the protocol, of the models'."""


class World:
    """A render set, and samples made from the very Gaussians it shows."""

    def __init__(self, root: Path, size_px: int = 64) -> None:
        self.root, self.size_px = root, size_px
        self.renders, self.sample = root / "renders/eval/manifest.tsv", root / "ours_3"
        self.objects, self.out = root / "objects/eval/manifest.tsv", root / "m/ours_3.csv"
        for name in OBJECTS:
            self._write(name)
        rows = [f"{name}\tok\t-\t\t1.0\t1\thash\tCC0-1.0\tnobody" for name in OBJECTS]
        rows.append("broken\tfailed\timport\tno mesh\t0.1\t2\thash\tCC0-1.0\tnobody")
        header = "id\tstatus\tstage\treason\tseconds\tattempts\tjob_hash\tlicence\tcreator"
        self.renders.write_text("\n".join([header, *rows]) + "\n")
        self.objects.write_text("\n".join(["id\tpath", *(f"{name}\t{name}.glb" for name in OBJECTS)]) + "\n")
        self.entries = [{"object": name, "seed": 0, "path": f"{name}/seed0"} for name in OBJECTS]
        self.write_manifest()
        self.configure()

    def configure(self, **changes: Any) -> None:
        """The smoke protocol in this set's frame, with `changes` of its keys."""
        data = yaml.safe_load((FOLDER / "smoke.yaml").read_text())
        data["render"] |= {"distance": 3.0, "size_px": self.size_px}
        data["metrics"]["geometry"] |= {"points": 1000, "alignment": ["none", "scale_centre"], "voxel": VOXEL}
        (self.root / "mine.yaml").write_text(yaml.safe_dump(data | {"judge": NARROW} | changes))
        config = {"evaluate": {"protocol": str(self.root / "mine.yaml")}, "render": {"size_px": self.size_px}}
        (self.root / "config.yaml").write_text(yaml.safe_dump(config))

    def write_manifest(self, **changes: Any) -> None:
        content = {"pair": "A + B", "method": "ours_3", "entries": self.entries, "failed": []} | changes
        (self.sample / "manifest.json").write_text(json.dumps(content))

    def _write(self, name: str) -> None:
        gaussians, views = cloud(name, self.size_px)
        folder = self.sample / name / "seed0"
        folder.mkdir(parents=True)
        self.write_views(name, views)
        surface = mesh_from_gaussians(gaussians, voxel=VOXEL)
        assert surface is not None
        save_glb(self.objects.parent / f"{name}.glb", surface)
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
                    "cpu_seconds": 2.25,
                    "seconds_by_part": {},
                    "peak_mb": 100.5,
                }
            )
        )

    def write_views(self, name: str, views: Views) -> None:
        """Ground truth as the renderer writes it."""
        save_views(
            self.renders.parent / name,
            views,
            object=name,
            rigs={"rig": RIG, "ring": list(range(8))},
            normalisation={"scale": 1.0, "offset": [0.0, 0.0, 0.0]},
        )

    def run(self, monkeypatch: pytest.MonkeyPatch, **changes: object) -> int:
        arguments: dict[str, object] = {
            "config": self.root / "config.yaml",
            "sample": self.sample,
            "renders": self.renders,
            "objects": self.objects,
            "out": self.out,
        } | changes
        monkeypatch.setattr(
            sys, "argv", ["evaluate", *(str(x) for k, v in arguments.items() for x in (f"--{k}", v))]
        )
        try:
            cli(command.main)
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
    for key in ("root", "renders", "objects", "sample", "out"):
        setattr(copy, key, tmp_path / "w" / getattr(finished, key).relative_to(finished.root))
    copy.configure()
    return copy


def test_the_true_model_scores_as_the_truth(finished: World) -> None:
    assert finished.value("psnr") > 45  # what 8-bit straight alpha leaves
    assert finished.value("ssim") > 0.999
    assert finished.value("lpips") < 1e-3
    assert finished.value("fg_psnr") > 40
    assert finished.value("views_psnr") > 45
    assert finished.value("depth_mae") < 5e-3 and finished.value("mask_iou") > 0.99
    # The surface is the model's own; what is left is the distance between two random samples of it.
    assert finished.value("chamfer_half_sum@none") < 0.04
    assert finished.value("volume_iou@none") > 0.9
    assert finished.value("f_0.1@none") > 0.99


def test_the_consistency_curve_is_the_closed_form(finished: World) -> None:
    assert finished.value("residual_psnr", step=1) == pytest.approx(-20 * math.log10(51 / 255), abs=1e-4)
    assert finished.value("residual_psnr", step=2) == pytest.approx(-20 * math.log10(25 / 255), abs=1e-4)
    assert finished.value("residual_psnr", step=3) == 100
    assert finished.value("residual_ssim", step=3) == 1
    assert finished.value("residual_lpips", step=3) == 0
    assert finished.value("residual_lpips", step=1) > finished.value("residual_lpips", step=2) > 0
    assert finished.value("residual_mae", step=2) == pytest.approx(25 / 255, abs=1e-6)
    assert finished.value("delta_psnr", step=3) == 0
    assert not math.isnan(finished.value("heldout_psnr", step=3) + finished.value("split_psnr", step=3))


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
    assert finished.value("cpu_seconds") == 2.25
    assert finished.value("failed") == 0
    assert {(r.method, r.pair, r.dataset) for r in records} == {("ours_3", "A + B", "eval")}
    assert {(r.seconds, r.peak_mb) for r in records if r.object != "*"} == {(1.25, 100.5)}
    protocol = judged(load_protocol(finished.root / "mine.yaml"))
    assert {r.protocol for r in records} == {protocol.hash}
    facts = json.loads(finished.out.with_suffix(".protocol.json").read_text())
    assert facts["hash"] == protocol.hash and set(facts["ground_truth_sha256"]) == set(OBJECTS)
    assert facts["judge_facts"] == protocol.judge_facts and facts["judge_facts"]["weights"] == {}
    keys = [(r.object, r.seed, r.metric, r.view, r.step) for r in records]
    assert len(keys) == len(set(keys))


def test_two_runs_write_the_same_bytes_from_settings_too(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = world.out.read_bytes()
    world.out.unlink()
    assert world.run(monkeypatch) == 0
    assert world.out.read_bytes() == before
    Plan(load_config(world.root / "config.yaml")).evaluate().write(world.root / "settings.json")
    world.out.unlink()
    assert world.run(monkeypatch, config=world.root / "none.yaml", settings=world.root / "settings.json") == 0
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
    world.write_views("ball", views)
    # The input camera stood at azimuth 90, so the model of the sampler is turned by -90 about z.
    mirror = torch.tensor([1.0, -1.0, 1.0])
    means = gaussians.means[:, [1, 0, 2]] * mirror
    w, x, y, z = gaussians.quats.unbind(-1)
    half = math.sqrt(0.5)  # the quaternion (half, 0, 0, -half) times each rotation
    quats = half * torch.stack([w + z, x + y, y - x, z - w], -1)
    save_ply(world.sample / "ball/seed0/model.ply", replace(gaussians, means=means, quats=quats))
    assert world.run(monkeypatch) == 0
    assert world.value("psnr") > 45
    assert world.value("chamfer_half_sum@none") < 0.04


def test_held_out_leaves_the_rig_out(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    old = world.out.rename(world.out.with_name("ring.csv"))
    world.out.with_name("ours_3.protocol.json").rename(world.out.with_name("ring.protocol.json"))
    world.configure(views={"scored": "held_out", "input_view": False})
    assert world.run(monkeypatch) == 0
    assert {r.view for r in read_records(world.out) if r.metric == "psnr"} == {-1, 1, 3, 5, 7}

    with pytest.raises(UserError, match=r"differently \(hash, views\)"):
        concat([old, world.out])


def test_the_protocol_is_of_the_file_and_other_renders_are_found_out_too(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def protocol() -> str:
        found = {r.protocol for r in read_records(world.out)}
        assert len(found) == 1
        return found.pop()

    first, kept = protocol(), world.out.with_name("first.csv")
    for suffix in (".csv", ".protocol.json"):
        shutil.copy(world.out.with_suffix(suffix), kept.with_suffix(suffix))
    kept.write_text(kept.read_text().replace("ours_3,", "other,"))
    (world.sample / "cone/seed0/model.ply").unlink()
    assert world.run(monkeypatch) == 0
    assert protocol() == first
    assert len(concat([kept, world.out])) > 0
    _, views = cloud("ball", world.size_px)
    world.write_views("ball", replace(views, rgba=views.rgba * 0.9))
    assert world.run(monkeypatch) == 0
    assert protocol() == first, "the protocol says how; the hashes of the pixels say what"
    with pytest.raises(UserError, match="different renders of ball"):
        concat([kept, world.out])
    world.configure(background=0.0)
    assert world.run(monkeypatch) == 0
    assert protocol() != first
    with pytest.raises(UserError, match=r"differently \(background, "):
        concat([kept, world.out])


def test_the_control_of_true_views_sits_at_the_floor(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.write_manifest(method="control:gt")
    assert world.run(monkeypatch) == 0
    assert {r.method for r in read_records(world.out)} == {"control:gt"}
    floor = world.value("frechet_lite0_floor", name="*")
    assert floor > 0
    assert world.value("frechet_lite0_views", step=3, name="*") < 0.1 * floor
    assert world.value("frechet_lite0_views", step=1, name="*") > floor, "the first step's views are grey"


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


def test_a_fault_of_any_kind_fails_its_trial_alone(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(trial: Trial, *arguments: Any) -> Iterator[Value]:
        if trial.object == "cone":
            raise ZeroDivisionError("a fault\nof the program")
        return geometry_family(trial, *arguments)

    before = world.value("psnr")
    monkeypatch.setattr(families, "geometry_family", broken)
    assert world.run(monkeypatch) == 0
    assert [(r.metric, r.value) for r in read_records(world.out) if r.object == "cone"] == [("failed", 1.0)]
    assert world.value("psnr") == before and world.value("failed") == 0
    reason = "failed: cone/seed0: it could not be handled (ZeroDivisionError: a fault of the program, in "
    assert reason in capsys.readouterr().err


def test_the_pair_is_the_samples(world: World, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    """Whatever configuration evaluates them: two pairs may have a method of one name."""
    kept = world.out.rename(world.out.with_name("first.csv"))
    world.write_manifest(pair="C + D")
    assert world.run(monkeypatch) == 0
    assert {r.pair for r in read_records(world.out)} == {"C + D"}
    assert {(r.pair, r.method) for r in concat([kept, world.out])} == {
        ("A + B", "ours_3"),
        ("C + D", "ours_3"),
    }
    content = json.loads((world.sample / "manifest.json").read_text())
    del content["pair"]
    (world.sample / "manifest.json").write_text(json.dumps(content))
    assert world.run(monkeypatch) == 2
    assert "run python -m aligncvc.sample first" in capsys.readouterr().err


def test_two_judges_never_share_a_protocol(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Held-out and split-half scores are the judge's."""
    kept = world.out.with_name("first.csv")
    for suffix in (".csv", ".protocol.json"):
        world.out.with_suffix(suffix).rename(kept.with_suffix(suffix))
    wider = {"network": NARROW["network"] | {"mid_attention": True}}
    world.configure(judge=wider)
    assert world.run(monkeypatch) == 0
    assert {r.protocol for r in read_records(kept)}.isdisjoint(r.protocol for r in read_records(world.out))
    with pytest.raises(UserError, match=r"differently \(hash, judge, judge_facts\)"):
        concat([kept, world.out])


def test_generated_views_stand_at_the_rig_that_their_set_names(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = world.value("psnr")
    for name in OBJECTS:
        white = cloud(name, world.size_px)[1].on_white()[None]
        folder = world.sample / name / "seed0"
        np.savez(folder / "steps.npz", views=to_bytes(white), renders=to_bytes(white), timesteps=[999])
    world.write_manifest(rig={"azimuths_deg": [45 * i for i in range(8)], "elevation_deg": None})
    assert world.run(monkeypatch) == 0
    assert {r.view for r in read_records(world.out) if r.metric == "views_psnr"} == {-1, *range(8)}
    assert world.value("views_psnr") > 60 and world.value("psnr") == before
    assert not math.isnan(world.value("heldout_psnr", step=1))
    facts = json.loads(world.out.with_suffix(".protocol.json").read_text())
    assert "no pose between" in facts["unavailable"]["split_psnr"]
    world.write_manifest(rig={"azimuths_deg": [0, 30], "elevation_deg": None})
    assert world.run(monkeypatch) == 2, "a view of that rig stands between two of the ring"


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
    assert "samples of stranger, which" in capsys.readouterr().err


def test_wrong_inputs_are_one_sentence(world: World, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    def refused(reason: str, **changes: object) -> None:
        assert world.run(monkeypatch, **changes) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: ") and error.count("\n") == 1 and reason in error, error

    refused("no objects manifest", objects=world.root / "none.tsv")
    refused("write renders with python -m aligncvc.render", renders=world.root / "none.tsv")
    refused("no settings can be read", settings=world.root / "none.json")
    refused("no configuration", config=world.root / "none.yaml")
    world.configure(versions={"scene": 2, "metrics": 1})
    refused("asks for version 1 of the metrics")
    world.configure(background="white")
    refused("background")
    world.configure()
    shutil.rmtree(world.sample)
    refused("run python -m aligncvc.sample first")
    monkeypatch.setattr(sys, "argv", ["evaluate", "--config", str(world.root / "config.yaml")])
    with pytest.raises(SystemExit):
        cli(command.main)


def test_without_an_objects_manifest_geometry_has_no_truth(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = world.value("psnr")
    world.objects.unlink()  # else it is found beside the renders
    assert world.run(monkeypatch, objects=None) == 0
    metrics = {r.metric for r in read_records(world.out)}
    assert not any("@" in name for name in metrics) and "mask_iou" in metrics
    assert world.value("psnr") == before


def test_the_objects_manifest_is_found_beside_the_renders(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert world.run(monkeypatch, objects=None) == 0
    assert any("@" in r.metric for r in read_records(world.out))


def test_below_64_px_lpips_has_no_value_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    small = World(tmp_path, size_px=32)
    assert small.run(monkeypatch) == 0
    assert "lpips: n/a (images below 64 px)" in capsys.readouterr().err
    assert math.isnan(small.value("lpips")) and math.isnan(small.value("residual_lpips", step=1))
    assert small.value("psnr") > 40
