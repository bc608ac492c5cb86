"""Pretraining: batches, recolouring, whitening, and a killed run that ends where an unbroken one does."""

from __future__ import annotations

import csv
import json
import math
import shutil
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from aligncvc.config.jobs.pretrain import PretrainJob, Training
from aligncvc.errors import UserError
from aligncvc.files import PROJECT_ROOT, sha256_file
from aligncvc.models.generators.base import Prediction
from aligncvc.models.generators.denoising import denoising_error
from aligncvc.models.kinds import complete
from aligncvc.models.ledger.weights import check_network, read_facts
from aligncvc.models.pair import build_generator
from aligncvc.models.specs import CheckpointAccess, ModelSpec, PairSpec
from aligncvc.pretrain import maps, recon, unet, vae
from aligncvc.pretrain.fit import begin_with
from aligncvc.pretrain.occupancy import surface_voxels
from aligncvc.pretrain.rings import Batch, Rings, joined, load_rings, recoloured, split_ids
from aligncvc.pretrain.unet import encoded, sometimes_without_image
from aligncvc.scene.cameras import orbit, ring_azimuths_deg, spherical_deg
from aligncvc.scene.gaussians import Gaussians
from aligncvc.scene.rigs import Rig
from aligncvc.scene.views import Views, save_views
from aligncvc.streams import torch_stream
from aligncvc.training import decay_progress, learning_rate

RING, SIZE_PX = 8, 32
ORBIT4 = Rig(azimuths_deg=[0, 90, 180, 270])


def make_set(folder: Path, count: int = 6) -> Path:
    cameras = orbit(ring_azimuths_deg(RING), 10, distance=3, fov_y_deg=39.6, size_px=SIZE_PX)
    y, x = torch.meshgrid(torch.linspace(-1, 1, SIZE_PX), torch.linspace(-1, 1, SIZE_PX), indexing="ij")
    rows = []
    for i in range(count):
        disc = ((x.square() + y.square()) < 0.1 + 0.05 * i).float()
        colour = torch.tensor([i / count, 0.5, 1 - i / count]).view(3, 1, 1) * disc
        rgba = torch.cat([colour, disc[None]]).expand(RING, -1, -1, -1)
        rigs = {"rig": [0, 2, 4, 6], "ring": list(range(RING))}
        depth = 3.0 * disc.expand(RING, -1, -1)
        save_views(folder / f"object{i}", Views(rgba, cameras, depth), rigs=rigs)
        rows.append(
            {"id": f"object{i}", "status": "ok", "job_hash": "0", "split": "eval" if i < 2 else "train"}
        )
    for name in ("manifest.tsv", "list.tsv"):
        with (folder / name).open("w", newline="") as handle:
            writer = csv.DictWriter(handle, rows[0].keys(), delimiter="\t")
            writer.writeheader()
            writer.writerows(rows)
    return folder / "manifest.tsv"


@pytest.fixture
def rings(tmp_path) -> Rings:
    return load_rings(make_set(tmp_path), ORBIT4, SIZE_PX)


def tiny(role: str, **network) -> ModelSpec:
    kind, settings = complete(role, network, "test")
    return ModelSpec(kind=kind, network=settings)


TINY = {
    "generators": tiny(
        "generators",
        kind="wonder3d",
        vae={"channels": [8, 8, 8], "norm_groups": 4},
        unet={"channels": [16, 16], "head_channels": 8, "norm_groups": 4},
    ),
    "reconstructors": tiny(
        "reconstructors",
        kind="lgm",
        down_channels=[8, 8],
        down_attention=[False, True],
        up_channels=[8, 8],
        up_attention=[True, False],
    ),
}


def small_job(part: str, **training) -> PretrainJob:
    return PretrainJob(
        part=part,
        model=TINY["reconstructors" if part == "recon" else "generators"],
        training=Training(batch=2, bf16=False, save_every=2, ema_decay=0.5, **training),
        object_lists=["list.tsv"],
        rig=ORBIT4,
        size_px=SIZE_PX,
        guidance=1.3,
    )


def drawn(rings: Rings, size: int) -> Batch:
    return rings.batch(size, 0, torch_stream(0, "draw"), unet.RECOLOURED)


def test_batch_has_the_input_view_first_at_azimuth_zero(rings):
    batch = rings.batch(3, 2, torch.Generator().manual_seed(0))
    assert batch.images.shape == (3, 4, 3, SIZE_PX, SIZE_PX)
    assert batch.target_rgba.shape == (3, 2, 4, SIZE_PX, SIZE_PX)
    azimuth, elevation, distance = spherical_deg(batch.cameras)
    wanted = torch.tensor([0.0, 90.0, 180.0, 270.0]).expand(3, -1)
    torch.testing.assert_close((azimuth - wanted + 180) % 360 - 180, torch.zeros(3, 4), atol=1e-3, rtol=0)
    torch.testing.assert_close(elevation, torch.full((3, 4), 10.0), atol=1e-3, rtol=0)
    torch.testing.assert_close(distance, torch.full((3, 4), 3.0), atol=1e-4, rtol=0)


def test_a_mirrored_object_is_its_images_flipped_and_its_ring_reversed(rings):
    """A mirrored ring seen in a mirror again is the ring: same cameras, images flipped at -offset."""
    marked = rings.rgba.clone()
    for view in range(RING):  # tell views and columns apart
        marked[:, view, 0] = view
        marked[:, view, 1] = torch.arange(SIZE_PX, dtype=torch.uint8)
    marked_rings = replace(rings, rgba=marked)
    objects, starts = torch.tensor([1, 1]), torch.tensor([3, 3])
    offsets = torch.tensor([[0, 2, 5]]).expand(2, -1)
    rgba, _, cameras = marked_rings.posed(objects, starts, offsets, torch.tensor([False, True]))
    assert (rgba[0, :, 0, 0, 0] * 255).round().tolist() == [3, 5, 0]
    assert (rgba[1, :, 0, 0, 0] * 255).round().tolist() == [3, 1, 6]
    torch.testing.assert_close(rgba[1, :, 1], rgba[0, :, 1].flip(-1))
    assert torch.equal(cameras.c2w[0], cameras.c2w[1])


def test_the_rig_is_the_job_s_and_must_be_part_of_the_ring(tmp_path):
    manifest = make_set(tmp_path, count=1)
    assert load_rings(manifest, Rig(azimuths_deg=[0, 45])).rig == [0, 1]
    with pytest.raises(UserError, match="ring_views"):
        load_rings(manifest, Rig(azimuths_deg=[0, 30]))
    with pytest.raises(UserError, match="32x32"):
        load_rings(manifest, ORBIT4, size_px=64)


def test_sets_are_joined_that_cameras_and_names_allow(rings, tmp_path):
    other = replace(rings, ids=[f"other {name}" for name in rings.ids], rgba=255 - rings.rgba)
    both = joined([rings, other])
    assert both.ids == [*rings.ids, *other.ids] and len(both.depth) == 12
    assert torch.equal(both.select({"other object3"}).rgba[0], 255 - rings.select({"object3"}).rgba[0])
    with pytest.raises(UserError, match="object0 is in two of the sets"):
        joined([rings, rings])
    for cameras in (replace(rings.cameras, fov_y_deg=40.0), rings.cameras[[1, 2, 3, 4, 5, 6, 7, 0]]):
        with pytest.raises(UserError, match="different cameras"):
            joined([rings, replace(other, cameras=cameras)])


def test_looks_are_chosen_apart_from_objects(rings):
    ids = ["a", "b", "a.v1", "b.v1", "a.v2", "b.v2"]
    looks = replace(rings, ids=ids)
    assert looks.objects == {"a", "b"}
    assert looks.select({"a"}).ids == ["a", "a.v1", "a.v2"]
    assert looks.select({"a", "b"}, looks=[1]).ids == ["a.v1", "b.v1"]
    assert {name: r.ids for name, r in looks.by_look().items()} == {
        "original": ["a", "b"],
        "coloured": ["a.v1", "b.v1"],
    }
    assert list(rings.by_look()) == ["original"]


def test_recolouring_is_the_same_in_all_views_and_keeps_alpha():
    rgba = torch.rand(4, 1, 4, 8, 8).expand(-1, 5, -1, -1, -1)
    out = recoloured(rgba, torch.Generator().manual_seed(0), 1.0)
    assert torch.equal(recoloured(rgba, torch.Generator().manual_seed(0), 0.0), rgba)
    assert float(out.min()) >= 0 and float(out.max()) <= 1
    assert torch.equal(out[:, :, 3], rgba[:, :, 3])
    assert torch.equal(out[:, 0], out[:, 4])
    assert not torch.equal(out, rgba)


def test_grey_images_gain_colour_by_recolouring():
    grey = torch.rand(32, 1, 1, 8, 8).expand(-1, 1, 3, -1, -1)
    rgba = torch.cat([grey, torch.ones(32, 1, 1, 8, 8)], 2)
    out = recoloured(rgba, torch.Generator().manual_seed(0), 1.0)[:, :, :3]
    assert float(vae.chroma(grey).abs().max()) < 1e-6
    assert float(vae.chroma(out).square().mean().sqrt()) > 0.1


def test_chroma_error_is_one_for_a_grey_copy_and_blind_to_brightness():
    image = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    grey = image.mean(1, keepdim=True).expand(-1, 3, -1, -1)
    assert vae.chroma_error(grey, image) == pytest.approx(1.0, abs=1e-5)
    assert vae.chroma_error(image + 0.3, image) == pytest.approx(0.0, abs=1e-5)


def test_surface_loss_is_zero_on_the_surface_and_measures_the_gap():
    """A plane through the origin seen by one camera: Gaussians on it, then half a unit behind it."""
    cameras = orbit([0.0], 0, distance=3, fov_y_deg=39.6, size_px=8)
    cameras = replace(cameras, c2w=cameras.c2w[None])
    origins, directions = cameras.rays()
    forward = cameras.c2w[..., :3, 2, None, None]
    depth = torch.full((1, 1, 8, 8), 3.0)
    alpha = torch.ones(1, 1, 1, 8, 8)

    def gaussians(z: float) -> Gaussians:
        along = z / (directions * forward).sum(2, keepdim=True)
        means = (origins + along * directions).permute(0, 1, 3, 4, 2).reshape(1, 64, 3)
        return Gaussians(means, torch.ones(1, 64, 3), torch.ones(1, 64, 4), torch.ones(1, 64), means)

    on, behind = (recon.surface_loss(gaussians(z), cameras, alpha, depth) for z in (3.0, 3.5))
    assert float(on["depth"]) == pytest.approx(0, abs=1e-6) and float(on["opacity"]) == 0
    assert float(behind["depth"]) == pytest.approx(0.5 - 0.05, abs=1e-5)  # smooth L1 with beta 0.1


def test_input_views_are_the_rig_or_two_or_three_of_it():
    counts = [len(recon.input_views(4, torch.Generator().manual_seed(i))) for i in range(400)]
    assert set(counts) == {2, 3, 4}
    assert counts.count(4) / 400 == pytest.approx(1 - recon.FEWER_VIEWS, abs=0.08)


def test_surface_voxels_are_those_that_depth_shows():
    """A plane through the origin, then a pixel beside the object, then a plane outside the grid."""
    cameras = orbit([0.0], 0, distance=3, fov_y_deg=39.6, size_px=64)
    cameras = replace(cameras, c2w=cameras.c2w[None])
    coordinates = torch.linspace(-1, 1, 9)[None]  # 0.25 apart
    depth = torch.full((1, 1, 64, 64), 3.0)
    found = surface_voxels(depth, cameras, coordinates)[0].nonzero()
    axis = cameras.c2w[0, 0, :3, 2].abs().argmax()  # the camera looks along one axis of the world
    assert set(found[:, axis].tolist()) == {4}
    half = 3 * math.tan(math.radians(39.6) / 2)  # half of what is seen there
    reach = {i for i in range(9) if abs(-1 + 0.25 * i) <= half + 0.125}
    others = [a for a in range(3) if a != axis]
    assert all(set(found[:, a].tolist()) == reach for a in others) and len(found) == len(reach) ** 2
    assert not surface_voxels(torch.zeros_like(depth), cameras, coordinates).any()
    assert not surface_voxels(torch.full_like(depth, 5.0), cameras, coordinates).any()
    nearer = surface_voxels(torch.full_like(depth, 2.5), cameras, coordinates)[0].nonzero()
    towards = float(cameras.positions[0, 0, axis].sign())
    assert set(nearer[:, axis].tolist()) == {4 + 2 * int(towards)}


def test_a_reconstructor_that_proposes_voxels_learns_to(rings, tmp_path):
    """The proposal's loss falls although the renderings' loss does not train it."""
    spec = tiny("reconstructors", kind="geolrm", preset="tiny")
    job = small_job("recon", steps=30, lr=3e-3).model_copy(update={"model": spec})
    job = job.model_copy(update={"training": job.training.model_copy(update={"save_every": 30})})
    recon.train(job, rings, rings, tmp_path / "geolrm.safetensors")
    log = [json.loads(line) for line in (tmp_path / "geolrm.jsonl").read_text().splitlines()]
    assert log[-1]["voxels"] < 0.7 * log[0]["voxels"]


def test_whitening_changes_latents_not_images():
    torch.manual_seed(0)
    generator = build_generator(TINY["generators"], 32)
    images = torch.rand(64, 1, 3, 32, 32)
    with torch.no_grad():
        before = generator.decode(generator.encode(images))
        vae.whiten(generator.vae, generator.encode(images)[:, 0])
        latents = generator.encode(images)
        after = generator.decode(latents)
    torch.testing.assert_close(latents.mean((0, 1, 3, 4)), torch.zeros(4), atol=1e-3, rtol=0)
    torch.testing.assert_close(latents.std((0, 1, 3, 4)), torch.ones(4), atol=1e-2, rtol=0)
    torch.testing.assert_close(after, before, atol=1e-4, rtol=0)


def test_learning_rate_warms_up_and_decays():
    assert decay_progress(499, 1000) == 0 and decay_progress(1000, 1000) == 1
    rates = [learning_rate(i, 1000, 1.0) for i in range(1000)]
    assert rates[0] < 0.02 and max(rates) == 1.0 and rates[-1] == pytest.approx(0.02, abs=1e-3)
    assert all(a >= b for a, b in pairwise(rates[100:]))
    assert rates[499] == 1.0 > rates[600]


def test_interrupted_run_ends_in_the_same_weights(rings, tmp_path, monkeypatch):
    """Kill between two states: the restarted run repeats the lost step and ends equal to the bit."""
    job = small_job("recon", steps=5)
    recon.train(job, rings, rings, tmp_path / "a" / "recon.safetensors")
    calls = {"n": 0}
    original = Rings.batch

    def dies(self, *args, **kwargs):
        calls["n"] += 1
        if calls["n"] == 4:
            raise KeyboardInterrupt
        return original(self, *args, **kwargs)

    monkeypatch.setattr(Rings, "batch", dies)
    with pytest.raises(KeyboardInterrupt):
        recon.train(job, rings, rings, tmp_path / "b" / "recon.safetensors")
    monkeypatch.setattr(Rings, "batch", original)
    assert not (tmp_path / "b" / "recon.safetensors").exists()
    recon.train(job, rings, rings, tmp_path / "b" / "recon.safetensors")
    a, b = (load_file(tmp_path / name / "recon.safetensors") for name in "ab")
    assert a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)
    logs = [[json.loads(x) for x in (tmp_path / n / "recon.jsonl").read_text().splitlines()] for n in "ab"]
    assert [x["step"] for x in logs[0]] == [x["step"] for x in logs[1]]
    assert [x["total"] for x in logs[0]] == [x["total"] for x in logs[1]]


def test_a_run_may_be_made_longer_on_its_plateau_only(rings, tmp_path):
    """A state of 2 of 8 steps serves a run of 6 and ends as that run does; one of 4 of 6 steps does not."""
    recon.train(small_job("recon", steps=6), rings, rings, tmp_path / "whole" / "recon.safetensors")

    class EnoughError(Exception):
        pass

    def stop_after(step: int, steps: int, out: Path) -> None:
        original = Rings.batch
        drawn = iter(range(step))

        def batch(self, *args, **kwargs):
            if next(drawn, None) is None:
                raise EnoughError
            return original(self, *args, **kwargs)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Rings, "batch", batch)
            with pytest.raises(EnoughError):
                recon.train(small_job("recon", steps=steps), rings, rings, out)

    for name, step, steps in (("early", 2, 8), ("late", 4, 4)):
        out = tmp_path / name / "recon.safetensors"
        if step < steps:
            stop_after(step, steps, out)
        else:
            recon.train(small_job("recon", steps=steps), rings, rings, out)
        recon.train(small_job("recon", steps=6), rings, rings, out)
        log = [json.loads(line)["step"] for line in out.with_suffix(".jsonl").read_text().splitlines()]
        assert log[0] == 0 and log[-1] == 5
    whole, early = (load_file(tmp_path / n / "recon.safetensors") for n in ("whole", "early"))
    assert all(torch.equal(whole[k], early[k]) for k in whole)


def test_latents_and_conditions_are_those_of_one_rig(rings):
    generator = build_generator(TINY["generators"], SIZE_PX)
    x0, condition = encoded(generator, drawn(rings, 8), bf16=False)
    batch = drawn(rings, 8)
    with torch.no_grad():
        torch.testing.assert_close(x0, generator.encode(batch.images))
    wanted = generator.encode_condition(batch.images[:, 0], batch.cameras.c2w)
    torch.testing.assert_close(condition.tokens, wanted.tokens)
    torch.testing.assert_close(condition.latents, x0[:, 0])
    torch.testing.assert_close(condition.cameras, wanted.cameras)


@pytest.mark.parametrize("kind", ["wonder3d", "videomv", "sv3d", "imagedream", "ouroboros3d"])
def test_the_denoising_error_is_that_of_v_for_every_kind(kind, rings, monkeypatch):
    """The truth has none; an x0 that is off by d has d^2 over the noise's share of the variance."""
    generator = build_generator(tiny("generators", kind=kind, preset="tiny"), SIZE_PX)
    x0, condition = encoded(generator, drawn(rings, 3), bf16=False)

    def off_by(distance: float):
        def prediction(raw, z_t, t):
            return Prediction(x0 + distance * (1 - generator.schedule.signal_share(t)).sqrt(), z_t)

        return prediction

    for distance in (0.0, 0.5):
        monkeypatch.setattr(generator, "prediction", off_by(distance))
        t = generator.schedule.like(torch.tensor([100, 500, 900]))
        loss = denoising_error(generator, x0, torch.randn_like(x0), t, condition)
        assert float(loss) == pytest.approx(distance**2, rel=1e-4, abs=1e-9)


def test_some_objects_are_seen_without_their_image(rings):
    generator = build_generator(TINY["generators"], SIZE_PX)
    _, condition = encoded(generator, drawn(rings, 400), bf16=False)
    seen = sometimes_without_image(generator, condition, 400, torch_stream(0, "drop"))
    without = (seen.tokens == 0).flatten(1).all(1)
    assert float(without.float().mean()) == pytest.approx(0.1, abs=0.05)
    assert torch.equal(seen.latents[without], torch.zeros_like(seen.latents[without]))
    assert torch.equal(seen.latents[~without], condition.latents[~without])
    assert torch.equal(seen.cameras, condition.cameras)


def test_a_reconstructor_is_shown_true_copied_and_predicted_views():
    """Of 200 objects a fifth went through the VAE and three tenths through the generator."""
    generator = build_generator(TINY["generators"], SIZE_PX)
    cameras = orbit([0, 90, 180, 270], 10, distance=3, fov_y_deg=39.6, size_px=SIZE_PX)
    cameras = replace(cameras, c2w=cameras.c2w.expand(200, -1, -1, -1))
    images = torch.rand(200, 4, 3, SIZE_PX, SIZE_PX, generator=torch.Generator().manual_seed(0))
    shown = recon.as_generated(generator, images, cameras, 1.3, torch_stream(0, "shown"))
    same = (shown == images).flatten(2).all(2)  # (200, 4): which views are the true ones
    true, predicted, copied = same.all(1), same[:, 0] & ~same[:, 1:].any(1), ~same.any(1)
    assert int((true | predicted | copied).sum()) == 200
    assert float(copied.float().mean()) == pytest.approx(0.2, abs=0.08)
    assert float(predicted.float().mean()) == pytest.approx(0.3, abs=0.09)
    with torch.no_grad():
        round_trip = generator.decode(generator.encode(images[copied])).clamp(0, 1)
    torch.testing.assert_close(shown[copied], round_trip)


def ledger_of(folder: Path, **files: Path) -> CheckpointAccess:
    """The project's ledger, and these weight files besides."""
    ledger = yaml.safe_load((PROJECT_ROOT / "config/checkpoints.yaml").read_text())
    ledger["checkpoints"] |= {
        name: {"what": name, "source": f"file:{path}", "sha256": sha256_file(path),
               "bytes": path.stat().st_size, "licence": "Apache-2.0"}
        for name, path in files.items()
    }  # fmt: skip
    (folder / "ledger.yaml").write_text(yaml.safe_dump(ledger))
    return CheckpointAccess(ledger=str(folder / "ledger.yaml"))


def test_a_generator_begins_with_given_weights(rings, tmp_path, monkeypatch):
    """Two steps from random weights, then two from those; a state of one run is not taken for the other's."""
    monkeypatch.setattr(unet, "FINAL_STEPS", 2)
    job, autoencoder = small_job("unet", steps=2), tmp_path / "vae.safetensors"
    vae.train(small_job("vae", steps=2), rings, rings, autoencoder)
    first, second = tmp_path / "1" / "unet.safetensors", tmp_path / "2" / "unet.safetensors"
    unet.train(job, rings, rings, first, {"vae": autoencoder})
    shutil.copytree(first.parent / "state", second.parent / "state")
    access = ledger_of(tmp_path, first=first, vae=autoencoder)
    later = job.model_copy(update={"start_from": "first", "checkpoints": access})
    unet.train(later, rings, rings, second, {"vae": autoencoder})
    a, b = load_file(first), load_file(second)
    fresh = build_generator(TINY["generators"], SIZE_PX).unet.state_dict()
    moved = sum(float((a[k].float() - b[k].float()).square().sum()) for k in a)
    apart = sum(float((a[k].float() - fresh[k]).square().sum()) for k in a)
    assert 0 < moved < 0.1 * apart
    log = [json.loads(line) for line in second.with_suffix(".jsonl").read_text().splitlines()]
    assert log[-1]["step"] == 1 and log[-1]["original_copy_psnr"] > 5
    assert read_facts(second)["start_from"] == "first"
    other = tiny("generators", kind="wonder3d", unet={"norm_groups": 8})
    with pytest.raises(UserError, match="made with a network whose"):
        check_network(first, other)
    check_network(autoencoder, tiny("generators", kind="videomv", vae=TINY["generators"].network["vae"]))
    with pytest.raises(UserError, match="made with a network whose vae"):
        check_network(autoencoder, tiny("generators", kind="videomv"))


def test_weights_of_another_network_give_what_fits(tmp_path):
    """A video U-Net begins with an image U-Net's convolutions; a network that shares nothing is refused."""
    video = tiny("generators", kind="videomv", vae=TINY["generators"].network["vae"],
                 unet={"channels": [16, 16], "head_channels": 8, "norm_groups": 4})  # fmt: skip
    donor, taker = (build_generator(spec, SIZE_PX).unet for spec in (TINY["generators"], video))
    file = tmp_path / "donor.safetensors"
    save_file(donor.state_dict(), file)
    job = small_job("unet", steps=1).model_copy(
        update={"start_from": "donor", "checkpoints": ledger_of(tmp_path, donor=file)}
    )
    said = begin_with(taker, job)
    now, given = taker.state_dict(), donor.state_dict()
    name = "down_blocks.0.resnets.0.conv1.weight"
    assert torch.equal(now[name], given[name])
    taken = [k for k in now if k in given and torch.equal(now[k], given[k])]
    assert said.startswith(f"{len(taken)} of {len(now)} tensors") and 0 < len(taken) < len(now)
    with pytest.raises(UserError, match="shares no tensor"):
        begin_with(torch.nn.Linear(3, 3), job)


def test_split_ids_reads_both_sides(tmp_path):
    make_set(tmp_path)
    splits = split_ids([str(tmp_path / "list.tsv")])
    assert splits == {"eval": {"object0", "object1"}, "train": {f"object{i}" for i in range(2, 6)}}


def test_what_tells_a_frozen_generator_of_its_model_learns_alone(rings, tmp_path):
    """Twelve steps change the reader of maps alone, which its file holds, and lower the error with maps."""
    size = {"vae": {"channels": [8, 8, 8], "norm_groups": 4},
            "unet": {"channels": [16, 16], "head_channels": 8, "norm_groups": 4}}  # fmt: skip
    model = tiny("generators", kind="wonder3d_maps", maps_hidden=8, **size)
    pair = PairSpec(
        name="a", generator=model, reconstructor=TINY["reconstructors"], rig=ORBIT4, input_view=True,
        views_px=SIZE_PX, renderings_px=SIZE_PX, guidance=1.3, seed=0,
    )  # fmt: skip
    job = small_job("maps", steps=12, lr=1e-2).model_copy(update={"model": model, "pair": pair})
    out = tmp_path / "maps.safetensors"
    maps.train(job, rings, rings, out)
    fresh = build_generator(model, SIZE_PX)
    given = load_file(out)
    assert given.keys() == fresh.parts()["maps"].state_dict().keys()
    assert float(given["conv_out.weight"].abs().max()) > 1e-3
    facts = read_facts(out)
    for t in maps.SCORED_AT:
        told, alone = (float(facts[f"original_x0_mse_{t}_{name}"]) for name in ("told", "alone"))
        assert told < alone
    check_network(out, model)
