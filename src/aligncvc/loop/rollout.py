"""One step of 3D-aware sampling, shared by post-training (align) and sampling (sample).

The loop (AlignCVC, figure 2): the generator predicts clean views, the reconstructor turns them into
Gaussians, the Gaussians are rendered at the same cameras, and the *renderings* are re-noised to the next
timestep. Because both stages call these functions, what the networks meet in training is what they meet
in sampling: same clamping, same guidance, same background, same resolution.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from aligncvc.config.sections import Config
from aligncvc.errors import UserError
from aligncvc.scene.cameras import Cameras
from aligncvc.scene.gaussians import Gaussians
from aligncvc.splat import rasterise
from aligncvc.streams import normal

if TYPE_CHECKING:
    from aligncvc.models.generators.base import Condition, MultiViewGenerator

Part = Callable[[str], AbstractContextManager[None]]
"""Entered round each part of a step (generator, decode, reconstruct, render, encode): for stopwatches."""

BACKGROUND = 1.0
"""Renderings are composited on white, as are the views that both networks were trained on."""


@dataclass(frozen=True)
class StepResult:
    """What one 3D-aware step yields for B objects and V views.

    views: (B, V, 3, H, W) generated views x0_hat in [0, 1], at the generator's size; latents: (B, V, C, h, w)
    predicted clean latents; gaussians: batched over B; renderings: (B, V, 3, H', W') of the Gaussians at the
    same cameras, at the cameras' size, on white. `views.at_common_size` makes the two comparable.
    """

    views: Tensor
    latents: Tensor
    gaussians: Gaussians
    renderings: Tensor


def _no_part(_: str) -> AbstractContextManager[None]:
    return nullcontext()


def clamp_straight_through(images: Tensor) -> Tensor:
    """Clamp to [0, 1] with the identity as gradient.

    A plain clamp has no gradient where the decoder overshoots, which is where it is needed most; no clamp
    would show the reconstructor values it never saw. Forward values are the same in training and sampling.
    """
    return images + (images.clamp(0, 1) - images).detach()


def timesteps_for(steps: int, config: Config) -> list[int]:
    """Descending timesteps of K-step 3D-aware sampling: the configured list, else evenly spaced from 999.

    Raises UserError if the configured list has another length or does not descend within [0, 999].
    """
    listed = config.sample.timesteps.get(steps)
    if listed is None:
        return [999 - (i * 1000) // steps for i in range(steps)]
    descends = all(a > b for a, b in pairwise(listed))
    if len(listed) != steps or not descends or not 0 <= listed[-1] <= listed[0] <= 999:
        raise UserError(
            f"sample.timesteps.{steps} = {listed} must be {steps} descending timesteps in [0, 999]"
        )
    return list(listed)


def view_noise(shape: tuple[int, ...], root_seed: int, *names: object) -> Tensor:
    """Standard normal latents (V, C, h, w), one named stream a view, so that they depend on names only."""
    return torch.stack([normal(tuple(shape[1:]), root_seed, *names, "view", v) for v in range(shape[0])])


def generate(
    generator: MultiViewGenerator,
    z: Tensor,
    timestep: int,
    condition: Condition,
    guidance_scale: float,
    part: Part = _no_part,
) -> tuple[Tensor, Tensor]:
    """Noisy latents (B, V, C, h, w) at one timestep -> (views in [0, 1], predicted clean latents)."""
    timesteps = torch.full((z.shape[0],), timestep, dtype=torch.long, device=z.device)
    with part("generator"):
        latents = generator.predict(z, timesteps, condition, guidance_scale=guidance_scale).x0
    with part("decode"):
        views = clamp_straight_through(generator.decode(latents))
    return views, latents


def lift(
    reconstructor: nn.Module, views: Tensor, cameras: Cameras, part: Part = _no_part
) -> tuple[Gaussians, Tensor]:
    """Views (B, V, 3, H, W) -> (Gaussians, their renderings at the same cameras on white)."""
    with part("reconstruct"):
        gaussians = reconstructor(views, cameras)
    with part("render"):
        renderings = rasterise(gaussians, cameras, background=BACKGROUND).rgb
    return gaussians, renderings


def aware_step(
    generator: MultiViewGenerator,
    reconstructor: nn.Module,
    z: Tensor,
    timestep: int,
    condition: Condition,
    cameras: Cameras,
    guidance_scale: float,
    *,
    grad_3d: bool = True,
    part: Part = _no_part,
) -> StepResult:
    """One step: predict clean views, reconstruct, render.

    z: (B, V, C, h, w) at `timestep`; cameras: (B, V, 4, 4) relative to the input view, at the renderings'
    size. grad_3d False keeps reconstruction and rendering out of the autograd graph (soft alignment needs
    only the latents); the caller decides about gradients as a whole with torch.no_grad().
    """
    views, latents = generate(generator, z, timestep, condition, guidance_scale, part)
    with torch.set_grad_enabled(grad_3d and torch.is_grad_enabled()):
        gaussians, renderings = lift(reconstructor, views, cameras, part)
    return StepResult(views, latents, gaussians, renderings)


def renoise(
    generator: MultiViewGenerator,
    renderings: Tensor,
    noise: Tensor,
    timestep: int,
    part: Part = _no_part,
    *,
    predicted: Tensor | None = None,
) -> Tensor:
    """Encode renderings (B, V, 3, H, W) and noise them to the next timestep with fresh noise.

    predicted: the clean latents (B, V, C, h, w) of the step that made the renderings. A generator of normals
    and colours keeps its normals from them, since renderings have none; one of colours only ignores them.
    """
    timesteps = torch.full((renderings.shape[0],), timestep, dtype=torch.long, device=renderings.device)
    with part("encode"):
        latents = generator.encode_renderings(renderings, predicted)
    return generator.add_noise(latents, noise, timesteps)
