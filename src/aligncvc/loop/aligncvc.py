"""The K-step 3D-aware sampler (AlignCVC): every step goes through the Gaussians."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from aligncvc.loop.cost import Stopwatch
from aligncvc.loop.rollout import aware_step, renoise, view_noise
from aligncvc.models.generators import MultiViewGenerator
from aligncvc.scene.cameras import Cameras
from aligncvc.scene.gaussians import Gaussians
from aligncvc.scene.renderset import batched


@dataclass(frozen=True)
class Sampled:
    """One object's result.

    gaussians: unbatched. views and renderings: (S, V, 3, H, W) in [0, 1], generated views and their
    renderings at the same cameras for each kept step, each at its own size; timesteps: (S,), descending. The
    last step is final.
    """

    gaussians: Gaussians
    views: Tensor
    renderings: Tensor
    timesteps: list[int]


@torch.no_grad()
def sample_aligncvc(
    generator: MultiViewGenerator,
    reconstructor: nn.Module,
    image: Tensor,
    cameras: Cameras,
    timesteps: list[int],
    guidance_scale: float,
    seed: int,
    name: str,
    watch: Stopwatch,
) -> Sampled:
    """image (3, H, W) on white; cameras (V, 4, 4), input view first at azimuth 0.

    Noise comes from the streams (seed, "sample", name, step, view).
    """
    device = image.device
    one = batched([cameras])
    shape = generator.latent_shape(len(cameras))

    def noise(step: int) -> Tensor:
        return view_noise(shape, seed, "sample", name, step)[None].to(device)

    with watch("encode"):
        condition = generator.encode_condition(image[None], one.c2w)
    z, latents = noise(0), None
    views: list[Tensor] = []
    renderings: list[Tensor] = []
    for step, timestep in enumerate(timesteps):
        if step:
            z = renoise(generator, renderings[-1][None], noise(step), timestep, watch, predicted=latents)
        result = aware_step(generator, reconstructor, z, timestep, condition, one, guidance_scale, part=watch)
        latents = result.latents
        views.append(result.views[0])
        renderings.append(result.renderings[0])
    return Sampled(result.gaussians[0], torch.stack(views), torch.stack(renderings), list(timesteps))
