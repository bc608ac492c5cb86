"""Wonder3D's own sampling: DDIM from the noisiest of evenly spaced timesteps, normals and colours together.

Facts (github xxlong0/Wonder3D, the pipelines and configurations of both branches): epsilon prediction,
"leading" timesteps with offset 1, the last step ends at the noise level of timestep 0 and not at clean;
eta 1, 50 steps by default (20 in the README); guidance 1 to 3 (v1), 2 (++); in ++ both domains start from the
same noise. The project's two-stage baseline (`aligncvc.loop.two_stage`) is another DDIM, the same for every
generator.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor

from aligncvc.models.generators.wonder3d.labels import VIEWS
from aligncvc.models.generators.wonder3d.network import Condition, Wonder3D

RIGS = {
    4: ("front", "right", "back", "left"),
    5: ("front", "front_right", "right", "back", "left"),
    6: ("front", "front_right", "right", "back", "left", "front_left"),
}
"""The order in which its views come, by their number."""


def rig_azimuths_deg(views: int) -> list[float]:
    """Azimuths of Wonder3D's rig of 4, 5 or 6 views."""
    return [VIEWS[name] for name in RIGS[views]]


def wonder3d_times(steps: int, length: int = 1000) -> list[int]:
    """Descending timesteps as Wonder3D's checkpoints configure them, and the 0 that the last step ends at."""
    return [1 + i * (length // steps) for i in reversed(range(steps))] + [0]


def same_noise(noise: Tensor, domains: int) -> Tensor:
    """(B, V, C, h, w) -> (B, V, D C, h, w): Wonder3D++ starts the domains of a view from the same noise."""
    return noise.repeat(1, 1, domains, 1, 1)


@torch.no_grad()
def sample_ddim(
    generator: Wonder3D,
    condition: Condition,
    z: Tensor,
    steps: int,
    guidance: float,
    eta: float = 1.0,
    noise: Callable[[int], Tensor] | None = None,
) -> Tensor:
    """Standard normal z (B, V, D C, h, w) -> clean latents of the same shape.

    Args:
        generator: of any prediction type.
        condition: from the input images.
        z: noise to start from.
        steps: evaluations of the denoiser.
        guidance: classifier-free guidance.
        eta: share of fresh noise at each step; 0 is deterministic.
        noise: step index -> the fresh noise of a step, shaped like z; asked for only if eta > 0.
    """
    assert eta == 0 or noise is not None
    times, abar = wonder3d_times(steps), generator.schedule.alphas_cumprod.to(z.device)
    for index, (now, following) in enumerate(pairwise(times)):
        timesteps = torch.full((len(z),), now, dtype=torch.long, device=z.device)
        prediction = generator.predict(z, timesteps, condition, guidance)
        here, there = abar[now], abar[following]
        variance = eta**2 * (1 - there) / (1 - here) * (1 - here / there)
        z = there.sqrt() * prediction.x0 + (1 - there - variance).sqrt() * prediction.eps
        if noise is not None and eta > 0:  # named streams, never the global one
            z = z + variance.sqrt() * noise(index)
    return z
