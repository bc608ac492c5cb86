"""Wonder3D's own sampling: DDIM from the noisiest of evenly spaced timesteps, normals and colours together.

Facts (github xxlong0/Wonder3D, the pipelines and configurations of both branches): epsilon prediction,
"leading" timesteps with offset 1, the last step ends at the noise level of timestep 0 and not at clean;
eta 1, 50 steps by default (20 in the README); guidance 1 to 3 (v1), 2 (++); in ++ both domains start from the
same noise. The project's two-stage baseline (`aligncvc.loop.two_stage`) is another DDIM, the same for every
generator.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from diffusers import DDIMScheduler
from torch import Tensor

from aligncvc.errors import UserError
from aligncvc.models.generators.base import Condition, MultiViewGenerator


def wonder3d_scheduler(generator: MultiViewGenerator, steps: int) -> Any:
    """DDIM as Wonder3D's checkpoints configure it, on the generator's noise schedule, set to `steps`."""
    scheduler: Any = DDIMScheduler.from_config(
        generator.scheduler.config,
        timestep_spacing="leading",
        steps_offset=1,
        set_alpha_to_one=False,
        clip_sample=False,
    )
    scheduler.set_timesteps(steps)
    return scheduler


def same_noise(noise: Tensor, domains: int) -> Tensor:
    """(B, V, C, h, w) -> (B, V, D C, h, w): Wonder3D++ starts the domains of a view from the same noise."""
    return noise.repeat(1, 1, domains, 1, 1)


@torch.no_grad()
def sample_ddim(
    generator: MultiViewGenerator,
    condition: Condition,
    z: Tensor,
    steps: int,
    guidance_scale: float,
    eta: float = 1.0,
    noise: Callable[[int], Tensor] | None = None,
) -> Tensor:
    """Standard normal z (B, V, D C, h, w) -> clean latents of the same shape.

    noise(step index) gives the fresh noise of a step, shaped like z; it is asked for only if eta > 0. Raises
    UserError if it is missing then.
    """
    if eta > 0 and noise is None:
        raise UserError(
            f"Wonder3D's sampling with eta {eta:g} needs fresh noise at every step; give noise, or eta 0"
        )
    scheduler = wonder3d_scheduler(generator, steps)
    for index, timestep in enumerate(scheduler.timesteps.tolist()):
        now = torch.full((len(z),), timestep, dtype=torch.long, device=z.device)
        prediction = generator.predict(z, now, condition, guidance_scale=guidance_scale)
        output = prediction.eps
        if generator.scheduler.config.prediction_type == "v_prediction":
            signal, sigma = generator.signal_noise(now)
            output = signal * prediction.eps - sigma * prediction.x0
        fresh = noise(index) if noise is not None and eta > 0 else None  # named streams, never the global one
        z = scheduler.step(output, timestep, z, eta=eta, variance_noise=fresh).prev_sample
    return z
