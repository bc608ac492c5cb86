"""What tells collapse and blur from progress: sharpness, saturation, and distances on a fixed batch."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from aligncvc.align.batches import draw_batch
from aligncvc.config.jobs.align import AlignJob
from aligncvc.errors import UserError
from aligncvc.loop.feedback import Look
from aligncvc.loop.unroll import clamp_straight_through
from aligncvc.metrics.frechet import frechet_distance
from aligncvc.metrics.psnr import psnr
from aligncvc.models.encoders.lite0 import load_lite0
from aligncvc.models.generators.base import MultiViewGenerator
from aligncvc.scene.renderset import RenderSet
from aligncvc.scene.views import at_common_size

MONITORED_OBJECTS = 8
"""Objects of the fixed batch; with their views they are the sets whose distances are logged."""


def gradient_magnitude(images: Tensor) -> Tensor:
    """(..., 3, H, W) -> scalar: mean absolute difference of neighbouring pixels, both ways."""
    down = (images[..., 1:, :] - images[..., :-1, :]).abs().mean()
    across = (images[..., 1:] - images[..., :-1]).abs().mean()
    return down + across


def saturation(images: Tensor) -> Tensor:
    """(..., 3, H, W) -> scalar: mean difference of the largest and the smallest channel."""
    return (images.amax(-3) - images.amin(-3)).mean()


@torch.no_grad()
def image_diagnostics(
    look: Look, truth: Tensor, mean: Callable[[Tensor], Tensor] = Tensor.clone
) -> dict[str, float]:
    """Agreement, closeness to ground truth (B, V, 3, H, W), and what blur and washed-out colours do to it.

    PSNR in dB; sharpness and saturation: ratio to ground truth's. Each at the smaller size of its two sides.
    mean: over processes, of what is divided: a mean of ratios would be another number.
    """
    views, renderings = look.views, look.on_white
    views_pair, renderings_pair = at_common_size(views, truth), at_common_size(renderings, truth)

    def ratio(measure: Callable[[Tensor], Tensor], sides: tuple[Tensor, ...]) -> float:
        ours, reference = mean(torch.stack([measure(side) for side in sides]))
        return float(ours / reference.clamp_min(1e-6))

    return {
        "residual_psnr": float(psnr(*at_common_size(views, renderings)).mean()),
        "gt_psnr": float(psnr(*renderings_pair).mean()),
        "views_gt_psnr": float(psnr(*views_pair).mean()),
        "sharpness": ratio(gradient_magnitude, views_pair),
        "sharpness_renderings": ratio(gradient_magnitude, renderings_pair),
        "saturation": ratio(saturation, views_pair),
    }


class Monitor:
    """Frechet distances, in features of the frozen encoder, between student, teacher and ground truth.

    Of one batch's noised ground-truth latents, denoised in one guided call. Compare with each other only.
    """

    def __init__(
        self, job: AlignJob, renders: RenderSet, generator: MultiViewGenerator, device: torch.device | str
    ) -> None:
        """Raises UserError for a generator whose latents ground-truth views alone do not give."""
        self.batch = batch = draw_batch(renders, job.seed, "monitor", range(MONITORED_OBJECTS), device)
        self.encoder = load_lite0(job.checkpoints).to(device)
        self.guidance, count = job.pair.guidance, len(job.timesteps)
        times = [job.timesteps[i % count] for i in range(MONITORED_OBJECTS)]
        self.timesteps = generator.schedule.like(torch.tensor(times, device=device))
        with torch.no_grad():
            self.condition = generator.encode_condition(batch.image, batch.cameras.c2w)
            try:
                latents = generator.encode(batch.views)
            except UserError as error:
                raise UserError(
                    f"align.monitor_every is {job.training.monitor_every} and needs latents of ground-truth "
                    f"views: {error}; or set monitor_every to 0"
                ) from None
        noise = batch.noise(latents.shape[1:], job.seed, "monitor")
        self.noisy = generator.schedule.add_noise(latents, noise, self.timesteps)
        self.fixed: tuple[Tensor, Tensor] | None = None

    @torch.no_grad()
    def __call__(self, student: MultiViewGenerator, teacher: MultiViewGenerator) -> dict[str, float]:
        """fd_student_teacher, fd_student_gt, fd_teacher_gt: squared distances."""
        own = self._features(self._views(student))
        if self.fixed is None:
            with teacher.adapters_off():
                views, truth = at_common_size(self._views(teacher), self.batch.views)
            self.fixed = self._features(views), self._features(truth)
        theirs, truth = self.fixed
        return {
            "fd_student_teacher": frechet_distance(own, theirs),
            "fd_student_gt": frechet_distance(own, truth),
            "fd_teacher_gt": frechet_distance(theirs, truth),
        }

    def _views(self, generator: MultiViewGenerator) -> Tensor:
        x0 = generator.predict(self.noisy, self.timesteps, self.condition, self.guidance).x0
        return clamp_straight_through(generator.decode(x0))

    def _features(self, images: Tensor) -> Tensor:
        """(B, V, 3, H, W) -> (B V, 1280) float64 on the CPU, where the distance is computed."""
        return self.encoder.embed(images.flatten(0, 1)).double().cpu()
