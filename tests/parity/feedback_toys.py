"""Small functions in the place of networks, VAE and renderer, and ours made of them: to compare loops.

An official loop calls the functions, ours calls the classes below; whatever differs is then the loop.
Latents are (B, V, 4, 4, 4), images (B, V, 3, 16, 16).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import torch
import torch.nn.functional as F
from parity_tools import numbers
from torch import Tensor, nn

from aligncvc.loop import unroll
from aligncvc.loop.feedback import Feedback, Look, State, Step
from aligncvc.loop.gen3diffusion import Gen3Diffusion
from aligncvc.loop.ouroboros3d import Ouroboros3d
from aligncvc.loop.videomv import VideoMv
from aligncvc.models.generators.base import MultiViewGenerator, Prediction, TakesMaps, Tree
from aligncvc.models.generators.schedules import AlphaSchedule, Schedule, SigmaSchedule
from aligncvc.models.pair import PairOfModels
from aligncvc.models.reconstructors.base import At
from aligncvc.models.specs import ModelSpec, PairSpec
from aligncvc.scene.cameras import Cameras, orbit
from aligncvc.scene.gaussians import Gaussians
from aligncvc.scene.renderset import batched
from aligncvc.scene.rigs import Rig
from aligncvc.splat import Rendering

SIDE, IMAGE_PX = 4, 16
SCALE = 0.18215
SYSTEMS = ("gen3diffusion", "ouroboros3d", "videomv")
VIEWS = {"gen3diffusion": 4, "ouroboros3d": 8, "videomv": 24}
SHOWN = {"gen3diffusion": None, "ouroboros3d": [0, 2, 4, 6], "videomv": [0, 6, 12, 18]}
GUIDANCE = {"gen3diffusion": 5.0, "ouroboros3d": 3.0, "videomv": 6.0}
STEPS = {"gen3diffusion": 50, "ouroboros3d": 25, "videomv": 50}
BACKGROUND = {"videomv": 0.7}
COMPARED = {"gen3diffusion": (0, 24), "ouroboros3d": (0, 12), "videomv": (5, 20, 40)}
"""Steps that are compared one by one, each from the official loop's own latents."""
RULES: dict[str, Feedback] = {
    "gen3diffusion": Gen3Diffusion(),
    "ouroboros3d": Ouroboros3d(),
    "videomv": VideoMv(),
}
COLOURS = numbers("toy colours", (3, 4)) * 0.4
MIXED = numbers("toy mix", (4, 4)) * 0.3
OF_MAPS = numbers("toy maps", (4, 6)) * 0.3
SPLIT = (3, 1, 3, 4, 3)


def start(system: str) -> Tensor:
    """(1, V, 4, 4, 4): the noise that both loops start from."""
    return numbers(f"{system} start", (1, VIEWS[system], 4, SIDE, SIDE))


def image() -> Tensor:
    """(1, 3, H, W) in [0, 1]."""
    return (numbers("toy image", (1, 3, IMAGE_PX, IMAGE_PX)) / 4 + 0.5).clamp(0, 1)


def decode(z: Tensor) -> Tensor:
    """(N, 4, 4, 4) unscaled latents -> (N, 3, 16, 16), [-1, 1] and a little beyond."""
    seen = 1.2 * torch.einsum("oc,nchw->nohw", COLOURS, z * SCALE).tanh()
    return F.interpolate(seen, scale_factor=IMAGE_PX // SIDE, mode="nearest")


def encode(images: Tensor) -> Tensor:
    """(N, 3, H, W) in [-1, 1], any size -> unscaled latents (N, 4, 4, 4)."""
    small = F.adaptive_avg_pool2d(
        images.double(), SIDE
    ).float()  # sums of thousands of pixels in float32 are off
    return torch.einsum("oc,nohw->nchw", COLOURS, small) * 4


def network(z: Tensor, time: Tensor, token: Tensor, maps: Tensor | None = None) -> Tensor:
    """z (B, V, 4, 4, 4), time (B,), token (B, 4, 4, 4), maps (B, V, 6, H, W) -> (B, V, 4, 4, 4)."""
    mixed = torch.einsum("oc,bvchw->bvohw", MIXED, z) + 0.3 * z.roll(1, 1) + token[:, None]
    if maps is not None:
        small = F.adaptive_avg_pool2d(maps.flatten(0, 1), SIDE).unflatten(0, maps.shape[:2])
        mixed = mixed + torch.einsum("oc,bvchw->bvohw", OF_MAPS, small)
    return (mixed + 0.1 * time.float().view(-1, 1, 1, 1, 1).sin()).tanh() + 0.5 * z


def reconstruct(
    images: Tensor, time: Tensor | None = None, noisy: Tensor | None = None, clean: Tensor | None = None
) -> Tensor:
    """Views (B, M, 3, H, W), what they come from, the input image (B, 3, H, W) -> (B, M 16, 14)."""
    x = F.adaptive_avg_pool2d(images.flatten(0, 1), SIDE).unflatten(0, images.shape[:2])
    if noisy is not None:
        x = x + 0.2 * F.adaptive_avg_pool2d(noisy.flatten(0, 1), SIDE).unflatten(0, images.shape[:2])
    if clean is not None:
        x = x + 0.1 * F.adaptive_avg_pool2d(clean, SIDE)[:, None]
    if time is not None:
        x = x + 0.05 * time.float().view(-1, 1, 1, 1, 1).cos()
    flat = x.permute(0, 1, 3, 4, 2).flatten(1, 3)
    return torch.cat(
        [flat - 0.5, flat[..., :1].sigmoid(), flat.exp(), F.pad(flat, (1, 0), value=1.0), flat], -1
    )


def render(parameters: Tensor, views: int, background: float) -> dict[str, Tensor]:
    """(B, M 16, 14) -> rgb, alpha and depth (B, V, C, 16, 16): each view blends the maps in its own way."""
    means, opacity, _, _, colours = parameters.split(SPLIT, -1)
    maps = torch.cat([colours, opacity, 1.7 + means[..., 2:]], -1).unflatten(1, (-1, SIDE, SIDE))
    share = (torch.arange(views)[:, None] * 0.7 + torch.arange(maps.shape[1])).cos().softmax(-1)
    rgb, alpha, depth = torch.einsum("vm,bmhwc->bvchw", share, maps).split((3, 1, 1), 2)
    large = (
        F.interpolate(x.flatten(0, 1), scale_factor=IMAGE_PX // SIDE, mode="nearest").unflatten(
            0, x.shape[:2]
        )
        for x in (alpha * rgb + (1 - alpha) * background, alpha, alpha * depth * (alpha > 0.6))
    )
    return dict(zip(("rgb", "alpha", "depth"), large, strict=True))


def coordinates(
    depth: Tensor, c2w: Tensor, focal: float = 1.0 / (2 * math.tan(math.radians(39.59775 / 2)))
) -> Tensor:
    """Ouroboros3D's maps of where surfaces lie: whole pixels divided by a focal length in image sides."""
    v, u = torch.meshgrid(*(torch.arange(n, dtype=depth.dtype) for n in depth.shape[-2:]), indexing="ij")
    rays = torch.stack([(u - 0.5) / focal, (v - 0.5) / focal, torch.ones_like(u)])
    world = torch.einsum("bvij,bvjhw->bvihw", c2w[..., :3, :3], rays * depth) + c2w[..., :3, 3, None, None]
    return (world * (depth > 0) * 0.001 + 0.5).clamp(0, 1)


class ToyGenerator(MultiViewGenerator, TakesMaps):
    """Of one system: what it predicts, how guidance and cameras are, what it is told."""

    def __init__(self, system: str, schedule: Schedule) -> None:
        super().__init__()
        self.system, self.schedule = system, schedule

    @property
    def denoiser(self) -> nn.Module:
        return self

    def parts(self) -> dict[str, nn.Module]:
        return {}

    def encode_condition(self, image: Tensor, cameras: Tensor) -> Tree:
        token = encode(F.interpolate(image * 2 - 1, (512, 512), mode="bilinear", align_corners=False))
        told = {"token": token}
        if self.system == "ouroboros3d":
            told["maps"] = torch.zeros(len(image), VIEWS[self.system], 6, IMAGE_PX, IMAGE_PX)
        return told

    def unconditional(self, condition: Tree) -> Tree:
        return {**condition, "token": torch.zeros_like(condition["token"])}

    def with_maps(self, condition: Tree, drawn: Rendering, cameras: Cameras) -> Tree:
        return {**condition, "maps": torch.cat([drawn.rgb, coordinates(drawn.depth, cameras.c2w)], 2)}

    def encode(self, images: Tensor) -> Tensor:
        rows = images.flatten(0, 1) * 2 - 1
        if self.system == "gen3diffusion":
            rows = F.interpolate(rows, (256, 256), mode="bilinear", align_corners=False)
        return encode(rows).unflatten(0, images.shape[:2]) * SCALE

    def decode(self, latents: Tensor) -> Tensor:
        return decode(latents.flatten(0, 1) / SCALE).unflatten(0, latents.shape[:2]) / 2 + 0.5

    def latent_shape(self, views: int) -> tuple[int, int, int, int]:
        return views, 4, SIDE, SIDE

    def raw_prediction(self, z_t: Tensor, timesteps: Tensor, condition: Tree) -> Tensor:
        if self.system == "gen3diffusion":  # the input image is a fifth view of which nothing is kept
            z = torch.cat([z_t, condition["token"][:, None] * SCALE], 1)
            return network(z, timesteps, torch.zeros_like(condition["token"]))[:, :-1]
        if self.system == "ouroboros3d":
            _, sigma = self.schedule.signal_noise(timesteps)
            z_t = z_t / (sigma**2 + 1).sqrt()
        return network(z_t, timesteps, condition["token"], condition.get("maps"))

    def prediction(self, raw: Tensor, z_t: Tensor, timesteps: Tensor) -> Prediction:
        signal, sigma = self.schedule.signal_noise(timesteps)
        if self.system == "gen3diffusion":
            return Prediction((z_t - sigma * raw) / signal, raw)
        length = signal.square() + sigma.square()
        x0 = signal * z_t / length - sigma * raw / length.sqrt()
        return Prediction(x0, self.schedule.implied_noise(z_t, x0, timesteps))

    def guide(self, unconditional: Tensor, conditional: Tensor, guidance: Any) -> Tensor:
        if self.system == "ouroboros3d":
            guidance = torch.linspace(1.0, float(guidance), conditional.shape[1])
        return super().guide(unconditional, conditional, guidance)


class ToyReconstructor(nn.Module):
    def __init__(self, system: str) -> None:
        super().__init__()
        self.sees = {"gen3diffusion": "noisy", "ouroboros3d": "time", "videomv": "views"}[system]
        self.clamped = system != "ouroboros3d"

    def forward(self, images: Tensor, cameras: Cameras, at: At | None = None) -> Gaussians:
        told = () if at is None else (at.timesteps, at.noisy, at.image if self.sees == "noisy" else None)
        means, opacity, scales, quats, colours = reconstruct(images, *told).split(SPLIT, -1)
        return Gaussians(means, scales, quats, opacity[..., 0], colours)


def parameters_of(gaussians: Gaussians) -> Tensor:
    """(B, N, 14)."""
    g = gaussians
    return torch.cat([g.means, g.opacities[..., None], g.scales, g.quats, g.colors], -1)


@contextmanager
def toy_renderer() -> Iterator[None]:
    """Inside, our loop draws with `render`."""

    def rasterise(gaussians: Gaussians, cameras: Cameras, background: float) -> Rendering:
        return Rendering(**render(parameters_of(gaussians), len(cameras), background))

    with patch.object(unroll, "rasterise", rasterise):
        yield


def schedule_of(system: str, alphas: Tensor | None) -> Schedule:
    return SigmaSchedule() if alphas is None else AlphaSchedule(alphas)


def toy_loop(system: str, alphas: Tensor | None, c2w: Tensor | None = None) -> unroll.Loop:
    """Our loop of the toys. alphas: abar of the official schedule; c2w (V, 4, 4): of the official rig."""
    spec = PairSpec(
        name="toy", generator=ModelSpec(kind="toy"), reconstructor=ModelSpec(kind="toy"),
        rig=Rig(azimuths_deg=[0, 90], background=BACKGROUND.get(system, 1.0)),
        reconstruct=SHOWN[system], views_px=IMAGE_PX, renderings_px=IMAGE_PX,
        guidance=GUIDANCE[system], seed=0,
    )  # fmt: skip
    one = orbit([i * 360 / VIEWS[system] for i in range(VIEWS[system])], 0.0, distance=1.7, fov_y_deg=39.6,
                size_px=IMAGE_PX)  # fmt: skip
    cameras = batched([one if c2w is None else replace(one, c2w=c2w)])
    pair = PairOfModels(spec, ToyGenerator(system, schedule_of(system, alphas)), ToyReconstructor(system))
    return unroll.Loop(pair, cameras, GUIDANCE[system], lambda *_: start(system))


def one_step(system: str, loop: unroll.Loop, facts: dict[str, Tensor], index: int) -> tuple[Step, State]:
    """Step `index` of ours from the official latents and condition: what it found, and the next state."""
    times = [
        float(t) if loop.pair.generator.schedule.dtype.is_floating_point else int(t) for t in facts["times"]
    ]
    state = replace(loop.start(image(), times), z=facts[f"z {index}"], index=index)
    if f"maps {index}" in facts:
        state = replace(state, condition={**state.condition, "maps": facts[f"maps {index}"]})
    step = RULES[system].observe(loop, state)
    return step, RULES[system].advance(loop, state, step)


def whole_way(system: str, loop: unroll.Loop, facts: dict[str, Tensor]) -> tuple[State, Look]:
    """Our own sampling from the first noise: the state of the last step, and the result."""
    times = [
        float(t) if loop.pair.generator.schedule.dtype.is_floating_point else int(t) for t in facts["times"]
    ]
    for state, step in unroll.unroll(loop, RULES[system], image(), times):
        last = state, step
    return last[0], RULES[system].finish(loop, *last)
