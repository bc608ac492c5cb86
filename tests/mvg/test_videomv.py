"""VideoMV's generator: its schedule against diffusers', what its branches are told, its settings."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler
from PIL import Image
from torch import nn

from aligncvc.errors import UserError
from aligncvc.files import sha256_file
from aligncvc.models.encoders.clip import ClipImageEncoder
from aligncvc.models.generators import text
from aligncvc.models.generators.parts import TINY_CLIP
from aligncvc.models.generators.schedules import AlphaSchedule
from aligncvc.models.generators.videomv import prompts, released
from aligncvc.models.generators.videomv.network import VideoMV, camera_tokens, image_embedding
from aligncvc.models.generators.videomv.settings import PRESETS, Settings
from aligncvc.models.kinds import complete
from aligncvc.models.ledger.ledger import load_ledger
from aligncvc.models.ledger.weights import load_weights
from aligncvc.models.specs import CheckpointAccess, ModelSpec
from aligncvc.scene.cameras import orbit

SIZE_PX = 32


def tiny(**settings: Any) -> VideoMV:
    torch.manual_seed(0)
    return VideoMV(Settings.model_validate({**PRESETS["tiny"], **settings}), SIZE_PX).eval()


def rig(distance: float = 3.0) -> torch.Tensor:
    return orbit([0, 90, 180, 270], 5, distance=distance, fov_y_deg=39.6, size_px=SIZE_PX).c2w[None]


def ddim(spacing: str) -> Any:
    return DDIMScheduler(
        beta_schedule="squaredcos_cap_v2", rescale_betas_zero_snr=True, prediction_type="v_prediction",
        timestep_spacing=spacing, steps_offset=1, clip_sample=False, set_alpha_to_one=True,
    )  # fmt: skip


def test_the_schedule_is_diffusers() -> None:
    theirs = ddim("leading")
    schedule = AlphaSchedule.cosine_zero_snr(spacing="leading")
    torch.testing.assert_close(schedule.alphas_cumprod, theirs.alphas_cumprod, atol=1e-6, rtol=0)
    theirs.set_timesteps(50)
    assert schedule.times(50) == theirs.timesteps.tolist() == list(range(981, 0, -20))
    theirs.set_timesteps(3)
    assert schedule.times(3) == theirs.timesteps.tolist() == [667, 334, 1]
    assert schedule.times(1000)[0] == 999, "never beyond the last"
    assert AlphaSchedule.cosine_zero_snr().times(4) == [999, 749, 499, 249]


@pytest.mark.parametrize(("now", "following"), [(999, 979), (999, None), (981, 961), (1, None)])
def test_steps_are_diffusers_and_finite_without_signal(now: int, following: int | None) -> None:
    schedule, theirs = AlphaSchedule.cosine_zero_snr(), ddim("trailing")
    theirs.set_timesteps(50)
    z, v = torch.randn(2, 1, 2, 4, 3, 3, generator=torch.Generator().manual_seed(0))
    t = torch.tensor([now])
    signal, sigma = schedule.signal_noise(t)
    x0, eps = signal * z - sigma * v, sigma * z + signal * v
    end = None if following is None else torch.tensor([following])
    found = schedule.step(z, x0, eps, t, end)
    if following is not None:
        expected = theirs.step(v, now, z).prev_sample
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
    for tensor in (found, schedule.add_noise(x0, eps, t), schedule.implied_noise(z, x0, t)):
        assert bool(tensor.isfinite().all())
    torch.testing.assert_close(schedule.add_noise(x0, eps, t), z, atol=1e-5, rtol=1e-4)


def test_prediction_and_noise_agree_where_there_is_no_signal() -> None:
    generator, t = tiny(), torch.tensor([999])
    z, raw = torch.randn(2, 1, 4, 4, 8, 8)
    found = generator.prediction(raw, z, t)
    torch.testing.assert_close(found.x0, -raw)
    torch.testing.assert_close(found.eps, z)


def test_tokens_tell_the_trained_distance_whatever_the_scenes() -> None:
    near, far = (camera_tokens(rig(distance), 1.7) for distance in (1.5, 4.0))
    torch.testing.assert_close(near, far)
    matrices = near.unflatten(-1, (4, 4))[0]
    torch.testing.assert_close(matrices[:, :3, 3].norm(dim=-1), torch.full((4,), 1.7))
    assert matrices[0, 0, 3] > 1.69 and matrices[1, 1, 3] > 1.69, "the input view at +x, then towards +y"


def test_branches_differ_in_text_and_embedding_alone() -> None:
    generator = tiny()
    told = generator.encode_condition(torch.rand(2, 3, SIZE_PX, SIZE_PX), rig().expand(2, -1, -1, -1))
    free = generator.unconditional(told)
    assert told.text.shape == told.negative.shape == (2, text.LENGTH, 16)
    assert torch.equal(free.text, told.negative) and not torch.equal(free.text, told.text)
    assert float(free.image.abs().max()) == 0 < float(told.image.abs().max())
    assert torch.equal(free.latents, told.latents) and torch.equal(free.cameras, told.cameras)


def test_the_first_view_has_the_image_and_the_others_their_number() -> None:
    unet = tiny().unet
    seen: list[torch.Tensor] = []
    unet.image_latents_proj_in.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    latents = torch.randn(2, 4, 8, 8)
    unet._image_in_views(latents, 5)
    frames = seen[0].unflatten(0, (2, 5))
    assert torch.equal(frames[:, 0], latents)
    for k in range(1, 5):
        torch.testing.assert_close(frames[:, k], torch.full_like(latents, k / 4))
    unet._image_in_views(latents, 1)
    assert torch.equal(seen[1], latents)


def test_clip_sees_the_image_as_pil_shrinks_it() -> None:
    """The release resizes 8-bit images bilinearly with Pillow."""
    encoder = ClipImageEncoder(**TINY_CLIP)
    seen: list[torch.Tensor] = []
    encoder.tower.register_forward_pre_hook(
        lambda _, __, given: seen.append(given["pixel_values"]), with_kwargs=True
    )
    pixels = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    image = torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255
    image_embedding(encoder, image)
    found = seen[0] * encoder.std + encoder.mean
    expected = np.asarray(Image.fromarray(pixels).resize((32, 32), Image.Resampling.BILINEAR))
    assert float((found[0].permute(1, 2, 0) * 255 - torch.from_numpy(expected.copy())).abs().max()) < 1.01


def test_without_a_text_tower_there_is_no_text_and_no_part() -> None:
    generator = tiny(text=None)
    assert "text_encoder" not in generator.parts()
    told = generator.encode_condition(torch.rand(1, 3, SIZE_PX, SIZE_PX), rig())
    assert told.text.shape == (1, 0, 16)
    z, t = torch.randn(1, 4, 4, 8, 8), torch.tensor([500])
    assert bool(generator.raw_prediction(z, t, told).isfinite().all())


def test_the_defaults_are_the_demos_size() -> None:
    _, network = complete("generators", {"kind": "videomv"}, "the test")
    generator = VideoMV(Settings.model_validate(network), 64).eval()
    assert sum(p.numel() for p in generator.unet.parameters()) < 8e6
    assert generator.latent_shape(24) == (24, 4, 16, 16)
    told = generator.encode_condition(torch.rand(1, 3, 64, 64), rig())
    assert told.image.shape == (1, 1280) and float(told.image.square().mean()) == pytest.approx(1, rel=1e-4)


def test_nothing_is_dropped_out_in_training() -> None:
    assert all(module.p == 0 for module in tiny().unet.modules() if isinstance(module, nn.Dropout))


def test_settings_that_do_not_fit_are_refused() -> None:
    with pytest.raises(UserError, match=r"text\.hidden_size is 8 and image tokens are 16 wide"):
        complete("generators", {"kind": "videomv", "preset": "tiny", "text": {"hidden_size": 8}}, "it")
    with pytest.raises(UserError, match="latent_channels must be 4"):
        complete("generators", {"kind": "videomv", "preset": "tiny", "vae": {"latent_channels": 8}}, "it")
    with pytest.raises(UserError, match="choose a multiple of 8"):
        VideoMV(Settings.model_validate(PRESETS["tiny"]), 36)


def test_the_prompts_are_of_the_towers_length() -> None:
    for ids in (prompts.EMPTY, prompts.NEGATIVE):
        padded = text.padded(ids)
        assert len(padded) == 77 and padded[0] == 49406 and padded[len(ids) + 1] == 49407
        assert set(padded[len(ids) + 2 :]) == {0}


def test_the_ledgers_layouts_exist_and_its_model_is_complete() -> None:
    ledger = load_ledger()
    weights = ledger.model("videomv", "generators").weights
    assert weights.keys() == tiny().parts().keys()
    for checkpoint in weights.values():
        module, _, name = str(ledger.entry(checkpoint).stored.layout).rpartition(".")
        assert callable(getattr(import_module(module), name))


def test_a_released_file_loads_strictly(tmp_path: Path) -> None:
    """A small file with the official names of what lies outside the blocks, as the ledger reads it."""
    torch.manual_seed(1)
    embedding = nn.Module()
    embedding.time_embedding = nn.Module()
    embedding.time_embedding.linear_1, embedding.conv_in = nn.Linear(2, 3), nn.Conv2d(4, 1, 1, bias=False)
    official = {
        "time_embed.0.weight": torch.rand(3, 2), "time_embed.0.bias": torch.rand(3),
        "input_blocks.0.0.weight": torch.rand(1, 4, 1, 1), "lgm_big.conv.weight": torch.rand(2),
    }  # fmt: skip
    torch.save({"state_dict": official, "step": 882000}, tmp_path / "i2v.pth")
    (tmp_path / "ledger.yaml").write_text(
        f"version: 1\ncheckpoints:\n  x:\n    what: x\n    source: file:{tmp_path}/i2v.pth\n"
        f"    sha256: {sha256_file(tmp_path / 'i2v.pth')}\n"
        f"    licence: MIT\n    stored: {{layout: {released.__name__}.unet}}\n"
    )
    access = CheckpointAccess(ledger=str(tmp_path / "ledger.yaml"))
    load_weights(embedding, "x", ModelSpec(kind="videomv"), access)
    assert torch.equal(embedding.time_embedding.linear_1.weight, official["time_embed.0.weight"])
    first, second = embedding.conv_in.weight.chunk(2, 1)
    given = official["input_blocks.0.0.weight"]
    assert torch.equal(first, given[:, :2]) and torch.equal(second, 2 * given[:, 2:])
