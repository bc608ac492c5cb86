"""Pretraining: batches, recolouring, whitening, and a killed run that ends where an unbroken one does."""

from __future__ import annotations

import csv
import json
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from aligncvc.cameras import orbit, ring_azimuths_deg, spherical_deg
from aligncvc.config import Config, Mvg, Pretrain, Recon, Training, Vae
from aligncvc.mvg import build_generator
from aligncvc.pretrain import recon, vae
from aligncvc.pretrain.data import Rings, load_rings, split_ids
from aligncvc.pretrain.fit import learning_rate
from aligncvc.pretrain.recolour import recoloured
from aligncvc.views import Views, save_views

RING, SIZE_PX = 8, 64


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
    return load_rings(make_set(tmp_path))


def small_config(**training) -> Config:
    settings = Training(batch=2, bf16=False, save_every=2, ema_decay=0.5, **training)
    network = Recon(
        down_channels=[8, 8],
        down_attention=[False, True],
        up_channels=[8, 8],
        up_attention=[True, False],
        heads=2,
    )
    tiny_vae = Vae(channels=[8, 8, 8], norm_groups=4)
    pretrain = Pretrain(vae=settings, unet=settings, recon=settings)
    return Config(pretrain=pretrain, recon=network, mvg=Mvg(vae=tiny_vae))


def test_batch_has_the_input_view_first_at_azimuth_zero(rings):
    batch = rings.batch(3, 2, torch.Generator().manual_seed(0))
    assert batch.images.shape == (3, 4, 3, SIZE_PX, SIZE_PX)
    assert batch.target_rgba.shape == (3, 2, 4, SIZE_PX, SIZE_PX)
    azimuth, elevation, distance = spherical_deg(batch.cameras)
    wanted = torch.tensor([0.0, 90.0, 180.0, 270.0]).expand(3, -1)
    torch.testing.assert_close((azimuth - wanted + 180) % 360 - 180, torch.zeros(3, 4), atol=1e-3, rtol=0)
    torch.testing.assert_close(elevation, torch.full((3, 4), 10.0), atol=1e-3, rtol=0)
    torch.testing.assert_close(distance, torch.full((3, 4), 3.0), atol=1e-4, rtol=0)


def test_recolouring_is_the_same_in_all_views_and_keeps_alpha():
    rgba = torch.rand(4, 1, 4, 8, 8).expand(-1, 5, -1, -1, -1)
    out = recoloured(rgba, torch.Generator().manual_seed(0))
    assert torch.equal(out[:, :, 3], rgba[:, :, 3])
    assert torch.equal(out[:, 0], out[:, 4])
    assert not torch.equal(out, rgba)


def test_whitening_changes_latents_not_images():
    torch.manual_seed(0)
    generator = build_generator(Mvg(vae=Vae(channels=[8, 8, 8], norm_groups=4)), 32)
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
    rates = [learning_rate(i, 1000, 1.0) for i in range(1000)]
    assert rates[0] < 0.02 and max(rates) == 1.0 and rates[-1] == pytest.approx(0.02, abs=1e-3)
    assert all(a >= b for a, b in pairwise(rates[100:]))
    assert rates[499] == 1.0 > rates[600]


def test_interrupted_run_ends_in_the_same_weights(rings, tmp_path, monkeypatch):
    """Kill between two states: the restarted run repeats the lost step and ends equal to the bit."""
    config = small_config(steps=5)
    recon.train(config, rings, rings, tmp_path / "a" / "recon.safetensors")
    calls = {"n": 0}
    original = Rings.batch

    def dies(self, *args, **kwargs):
        calls["n"] += 1
        if calls["n"] == 4:
            raise KeyboardInterrupt
        return original(self, *args, **kwargs)

    monkeypatch.setattr(Rings, "batch", dies)
    with pytest.raises(KeyboardInterrupt):
        recon.train(config, rings, rings, tmp_path / "b" / "recon.safetensors")
    monkeypatch.setattr(Rings, "batch", original)
    assert not (tmp_path / "b" / "recon.safetensors").exists()
    recon.train(config, rings, rings, tmp_path / "b" / "recon.safetensors")
    a, b = (load_file(tmp_path / name / "recon.safetensors") for name in "ab")
    assert a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)
    logs = [[json.loads(x) for x in (tmp_path / n / "recon.jsonl").read_text().splitlines()] for n in "ab"]
    assert [x["step"] for x in logs[0]] == [x["step"] for x in logs[1]]
    assert [x["total"] for x in logs[0]] == [x["total"] for x in logs[1]]


def test_split_ids_reads_both_sides(tmp_path):
    make_set(tmp_path)
    splits = split_ids(str(tmp_path / "list.tsv"))
    assert splits == {"eval": {"object0", "object1"}, "train": {f"object{i}" for i in range(2, 6)}}
