"""The one loop of K steps, for post-training and for sampling, whatever the feedback (`loop.feedback`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aligncvc.loop.cost import Stopwatch
from aligncvc.loop.feedback import Feedback, Look, State, Step
from aligncvc.models.generators.base import Guidance, Prediction
from aligncvc.models.generators.schedules import Time
from aligncvc.models.pair import PairOfModels
from aligncvc.models.reconstructors.base import At
from aligncvc.models.specs import PairSpec
from aligncvc.scene.cameras import Cameras
from aligncvc.scene.framing import at_field_of_view
from aligncvc.scene.gaussians import Gaussians
from aligncvc.splat import Rendering, rasterise
from aligncvc.streams import normal

BACKGROUND = 1.0
"""Views are on white, which both networks were trained on."""


@dataclass(frozen=True)
class Loop:
    """What all steps share, and what a feedback is made of.

    cameras: (B, V, 4, 4) relative to the input view, at the renderings' size. noise: (step's index, its
    timestep) -> standard normal (B, V, C, h, w); index 0 is the start. grad_3d: False keeps reconstruction
    and rendering out of the autograd graph (soft alignment needs the latents only).
    """

    pair: PairOfModels
    cameras: Cameras
    guidance: Guidance
    noise: Callable[[int, Time], Tensor]
    watch: Stopwatch = field(default_factory=Stopwatch)
    grad_3d: bool = True

    def start(self, image: Tensor, times: list[Time]) -> State:
        with self.watch("encode"):
            condition = self.pair.generator.encode_condition(image, self.cameras.c2w)
        z = self.pair.generator.schedule.start(self.noise(0, times[0]), times[0])
        return State(z, image, condition, times)

    def predict(self, state: State) -> Prediction:
        """Clean latents and noise, with guidance (on the network's own output, both branches in one call)."""
        with self.watch("generator"):
            return self.pair.generator.predict(state.z, self.at(state.now), state.condition, self.guidance)

    def branches(self, state: State) -> tuple[Prediction, Prediction]:
        generator, timesteps = self.pair.generator, self.at(state.now)
        with self.watch("generator"):
            raw = generator.branches(state.z, timesteps, state.condition)
            free, told = (generator.prediction(branch, state.z, timesteps) for branch in raw)
        return free, told

    def guide(self, unconditional: Tensor, conditional: Tensor) -> Tensor:
        return self.pair.generator.guide(unconditional, conditional, self.guidance)

    def with_x0(self, state: State, x0: Tensor) -> Prediction:
        """Other clean latents for the same noisy ones: the noise that this implies."""
        return Prediction(x0, self.pair.generator.schedule.implied_noise(state.z, x0, self.at(state.now)))

    def decode(self, latents: Tensor, *, clamped: bool = True) -> Tensor:
        """Latents -> views (B, V, 3, H, W), in [0, 1] if clamped (`clamp_straight_through`)."""
        with self.watch("decode"):
            views = self.pair.generator.decode(latents)
            return clamp_straight_through(views) if clamped else views

    def look(self, latents: Tensor, state: State, *, clean: bool = False) -> Look:
        """Decode latents, reconstruct, render. They were predicted at `state`, or are `clean`, the final."""
        pair, at = self.pair, None
        sees = getattr(pair.reconstructor, "sees", "views")
        clamped = getattr(pair.reconstructor, "clamped", True)
        views = self.decode(latents, clamped=clamped)
        if sees != "views":
            noisy = views if clean else self.decode(state.z, clamped=clamped) if sees == "noisy" else None
            at = At(self.at(0 if clean else state.now), noisy, state.image)
        with torch.set_grad_enabled(self.grad_3d and torch.is_grad_enabled()):
            seen = with_input(views, state.image) if pair.spec.input_view else views
            gaussians, drawn = lift(pair.spec, pair.reconstructor, seen, self.cameras, at, self.watch)
        shown = views if clamped else clamp_straight_through(views)
        return Look(shown, gaussians, drawn, pair.spec.rig.background)

    def encode(self, look: Look, predicted: Tensor) -> Tensor:
        """Clean latents of renderings; predicted: those that they were made from (`encode_renderings`)."""
        with self.watch("encode"):
            return self.pair.generator.encode_renderings(look.renderings, predicted)

    def renoise(self, clean: Tensor, state: State) -> Tensor:
        assert state.following is not None, "after the last step nothing follows"
        noise = self.noise(state.index + 1, state.following)
        return self.pair.generator.schedule.add_noise(clean, noise, self.at(state.following))

    def step(self, state: State, prediction: Prediction) -> Tensor:
        """Latents at the following timestep along the prediction (DDIM or Euler); at the end, clean ones."""
        following = None if state.following is None else self.at(state.following)
        now, schedule = self.at(state.now), self.pair.generator.schedule
        with self.watch("generator"):
            return schedule.step(state.z, prediction.x0, prediction.eps, now, following)

    def at(self, time: Time) -> Tensor:
        """A timestep for every object, (B,)."""
        c2w, dtype = self.cameras.c2w, self.pair.generator.schedule.dtype
        return torch.full((len(c2w),), time, dtype=dtype, device=c2w.device)


@dataclass(frozen=True)
class Sampled:
    """One object: unbatched Gaussians; views, renderings (S, V, 3, H, W) and timesteps of kept steps."""

    gaussians: Gaussians
    views: Tensor
    renderings: Tensor
    timesteps: list[Time]


def unroll(
    loop: Loop, feedback: Feedback, image: Tensor, times: list[Time], *, grad_from: int | None = None
) -> Iterator[tuple[State, Step]]:
    """The steps one by one, each with its state; those from index grad_from on run with gradient."""

    def gradient(index: int) -> torch.set_grad_enabled:
        wanted = grad_from is not None and index >= grad_from
        return torch.set_grad_enabled(wanted and torch.is_grad_enabled())

    with torch.no_grad():
        state = loop.start(image, times)
    while True:
        with gradient(state.index):
            step = feedback.observe(loop, state)
        yield state, step
        if state.following is None:
            return
        with gradient(state.index):
            state = feedback.advance(loop, state, step)


@dataclass(frozen=True)
class KeptStep:
    """A kept step of sampling: its place among all steps, and (V, 3, H, W) in [0, 1] on white."""

    index: int
    steps: int
    views: Tensor
    renderings: Tensor


@torch.no_grad()
def sample(
    loop: Loop,
    feedback: Feedback,
    image: Tensor,
    times: list[Time],
    on_step: Callable[[KeptStep], None] | None = None,
) -> Sampled:
    """One object (B = 1) from its image (3, H, W). Looks for the record only are not measured.

    on_step: told each kept step as soon as it is there; not measured either.
    """
    kept, looks = feedback.kept(len(times)), []

    def keep(look: Look) -> None:
        looks.append(look)
        if on_step is not None:
            index = kept[len(looks) - 1]
            on_step(KeptStep(index, len(times), look.views[0], look.on_white[0].clamp(0, 1)))

    for state, step in unroll(loop, feedback, image[None], times):
        if state.index in kept[:-1]:
            with loop.watch.paused():
                keep(step.look or loop.look(step.prediction.x0, state))
    keep(feedback.finish(loop, state, step))
    return Sampled(
        looks[-1].gaussians[0],
        torch.cat([look.views for look in looks]),
        torch.cat([look.on_white for look in looks]),
        [times[index] for index in kept],
    )


def lift(
    spec: PairSpec,
    reconstructor: nn.Module,
    views: Tensor,
    cameras: Cameras,
    at: At | None = None,
    watch: Stopwatch | None = None,
) -> tuple[Gaussians, Rendering]:
    """Views (B, V, 3, H, W), shown as the pair shows them, -> Gaussians, and drawn at all cameras."""
    watch = watch or Stopwatch()
    seen, seen_cameras = as_shown(spec, views, cameras)
    if at is not None and at.noisy is not None:
        at = replace(at, noisy=as_shown(spec, at.noisy, cameras)[0])
    with watch("reconstruct"):
        gaussians = reconstructor(seen, seen_cameras, **({} if at is None else {"at": at}))
    with watch("render"):
        return gaussians, rasterise(gaussians, cameras, background=spec.rig.background)


def with_input(views: Tensor, image: Tensor) -> Tensor:
    """Views (B, V, 3, H, W), the first of which is replaced by the input image (B, 3, H', W')."""
    size = views.shape[-2:]
    if image.shape[-2:] != size:
        image = F.interpolate(image, size, mode="bilinear", antialias=True, align_corners=False)
    return torch.cat([image[:, None].to(views), views[:, 1:]], 1)


def as_shown(spec: PairSpec, views: Tensor, cameras: Cameras) -> tuple[Tensor, Cameras]:
    """The views and cameras that the reconstructor gets: some of them, at its field of view."""
    if spec.reconstruct is not None:
        views, cameras = views[:, spec.reconstruct], cameras[spec.reconstruct]
    if spec.reconstruct_fov_y_deg is not None:
        return at_field_of_view(views, cameras, spec.reconstruct_fov_y_deg, BACKGROUND)
    return views, cameras


def clamp_straight_through(images: Tensor) -> Tensor:
    """Clamp to [0, 1] with the identity as gradient, which is needed most where the decoder overshoots."""
    return images + (images.clamp(0, 1) - images).detach()


def view_noise(shape: tuple[int, ...], root_seed: int, *names: object) -> Tensor:
    """Standard normal latents (V, C, h, w), one named stream a view, so that they depend on names only."""
    return torch.stack([normal(tuple(shape[1:]), root_seed, *names, "view", v) for v in range(shape[0])])
