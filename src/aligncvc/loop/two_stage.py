"""The two-stage baseline: sample all views with DDIM, then reconstruct once."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import DDIMScheduler
from torch import Tensor, nn

from aligncvc.loop.aligncvc import Sampled
from aligncvc.loop.cost import Stopwatch
from aligncvc.loop.rollout import clamp_straight_through, lift, view_noise
from aligncvc.models.generators import MultiViewGenerator, Prediction
from aligncvc.scene.cameras import Cameras
from aligncvc.scene.renderset import batched

KEPT_STEPS = 4


def kept_steps(steps: int, kept: int = KEPT_STEPS) -> list[int]:
    """Indices of at most `kept` evenly spaced steps of `steps`; the last is the final one."""
    count = min(kept, steps)
    return [round((i + 1) * steps / count) - 1 for i in range(count)]


def ddim_scheduler(generator: MultiViewGenerator, steps: int) -> Any:
    """DDIM on the generator's noise schedule, from its last timestep down (trailing), ending at clean."""
    scheduler = DDIMScheduler.from_config(
        generator.scheduler.config,
        prediction_type="v_prediction",
        timestep_spacing="trailing",
        set_alpha_to_one=True,
        clip_sample=False,
        steps_offset=0,
    )
    scheduler.set_timesteps(steps)
    return scheduler


def velocity(generator: MultiViewGenerator, prediction: Prediction, timesteps: Tensor) -> Tensor:
    """v = a eps - s x0: well conditioned at every timestep, whatever the network itself predicts."""
    a, s = generator.signal_noise(timesteps)
    return a * prediction.eps - s * prediction.x0


@torch.no_grad()
def sample_two_stage(
    generator: MultiViewGenerator,
    reconstructor: nn.Module,
    image: Tensor,
    cameras: Cameras,
    steps: int,
    guidance_scale: float,
    seed: int,
    name: str,
    watch: Stopwatch,
) -> Sampled:
    """image (3, H, W) on white; cameras (V, 4, 4), input view first at azimuth 0.

    Starts from the noise that the 3D-aware sampler starts from. At most four steps are looked at on the
    way (their predicted clean views, reconstructed and rendered); only the final one counts in `watch`.
    """
    device = image.device
    one = batched([cameras])
    scheduler = ddim_scheduler(generator, steps)
    with watch("encode"):
        condition = generator.encode_condition(image[None], one.c2w)
    z = view_noise(generator.latent_shape(len(cameras)), seed, "sample", name, 0)[None].to(device)
    kept = kept_steps(steps)
    views, renderings, seen = [], [], []
    for index, timestep in enumerate(scheduler.timesteps.tolist()):
        now = torch.full((1,), timestep, dtype=torch.long, device=device)
        with watch("generator"):
            prediction = generator.predict(z, now, condition, guidance_scale=guidance_scale)
            z = scheduler.step(velocity(generator, prediction, now), timestep, z).prev_sample
        if index in kept[:-1]:
            with watch.paused():
                clean = clamp_straight_through(generator.decode(prediction.x0))
                _, rendered = lift(reconstructor, clean, one, watch)
            views.append(clean[0])
            renderings.append(rendered[0])
            seen.append(timestep)
    with watch("decode"):
        final = clamp_straight_through(generator.decode(z))
    gaussians, rendered = lift(reconstructor, final, one, watch)
    seen.append(timestep)
    return Sampled(
        gaussians[0], torch.stack([*views, final[0]]), torch.stack([*renderings, rendered[0]]), seen
    )
