"""Hard alignment: a GAN whose discriminator has trainable heads on a frozen multi-level image encoder.

After vision-aided GAN (Kumari et al., 2022) and projected GANs (Sauer et al., 2021): one spectrally
normalised head a level, a sigmoid loss at every level, smoothed labels, differentiable augmentation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from aligncvc.config.jobs.align import Adversarial
from aligncvc.models.encoders.clip import ClipLevels, load_clip
from aligncvc.models.encoders.frozen import Level, LevelEncoder
from aligncvc.models.encoders.lite0 import load_lite0
from aligncvc.models.specs import CheckpointAccess
from aligncvc.streams import seeded


@dataclass(frozen=True)
class Augmentation:
    """Differentiable augmentation of N images; shift and hole: (N, 2) in fractions of height and width."""

    brightness: Tensor
    saturation: Tensor
    contrast: Tensor
    shift: Tensor
    hole: Tensor

    HOLE_SHARE = 0.25
    MAX_SHIFT = 0.125

    @classmethod
    def draw(cls, randoms: Sequence[torch.Generator], each: int, *, alike: bool = False) -> Augmentation:
        """`each` images from every generator, in the ranges of DiffAugment (Zhao et al., 2020) for [0, 1].

        alike: one draw for all images of a generator, where they are judged beside each other.
        """

        def uniform(low: float, high: float, *shape: int) -> Tensor:
            count, times = (1, each) if alike else (each, 1)
            rows = torch.cat([torch.rand((count, *shape), generator=random) for random in randoms])
            return rows.repeat_interleave(times, 0) * (high - low) + low

        return cls(
            brightness=uniform(-0.25, 0.25),
            saturation=uniform(0.0, 2.0),
            contrast=uniform(0.5, 1.5),
            shift=uniform(-cls.MAX_SHIFT, cls.MAX_SHIFT, 2),
            hole=uniform(0.0, 1.0, 2),
        )

    def first(self, each: int) -> Augmentation:
        """The draw of every `each`-th image."""
        return Augmentation(*(getattr(self, field.name)[::each] for field in fields(self)))

    def __call__(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) -> the same shape: colour, translation (white enters), one grey hole an image."""
        colour = (self.brightness, self.saturation, self.contrast)
        brightness, saturation, contrast = (p.to(images.device).view(-1, 1, 1, 1) for p in colour)
        images = images + brightness
        grey = images.mean(dim=1, keepdim=True)
        images = grey + (images - grey) * saturation
        mean = images.mean(dim=(1, 2, 3), keepdim=True)
        images = mean + (images - mean) * contrast
        return torch.stack([self._move_and_cut(image, i) for i, image in enumerate(images)])

    def _move_and_cut(self, image: Tensor, i: int) -> Tensor:
        height, width = image.shape[-2:]
        top, left = (self.shift[i] * torch.tensor([height, width])).round().long().tolist()
        reach_y, reach_x = int(height * self.MAX_SHIFT) + 1, int(width * self.MAX_SHIFT) + 1
        padded = F.pad(image, (reach_x, reach_x, reach_y, reach_y), value=1.0)
        moved = padded[:, reach_y - top : reach_y - top + height, reach_x - left : reach_x - left + width]
        keep = torch.ones(1, height, width, dtype=image.dtype, device=image.device)
        size_y, size_x = int(height * self.HOLE_SHARE), int(width * self.HOLE_SHARE)
        y = int(self.hole[i, 0] * (height - size_y + 1))
        x = int(self.hole[i, 1] * (width - size_x + 1))
        keep[:, y : y + size_y, x : x + size_x] = 0
        return moved * keep + 0.5 * (1 - keep)


class Discriminator(nn.Module):
    """Trainable heads on a frozen encoder. `heads` is all there is to train and to save."""

    def __init__(
        self,
        encoder: LevelEncoder,
        hidden: int,
        seed: int,
        *,
        input_px: int | None = None,
        levels: Sequence[int] | None = None,
        together: int = 1,
        sees_input: bool = False,
    ) -> None:
        """levels: which of the encoder's have a head, None for all. input_px: in place of the encoder's.

        together: so many views of an object are one example; 1: each by itself. sees_input: an example has
        the object's input image too.
        """
        super().__init__()
        self.together, self.sees_input = together, sees_input
        self.encoder = encoder.requires_grad_(False).eval()
        self.input_px = encoder.input_px if input_px is None else input_px
        self.levels = tuple(range(len(encoder.levels)) if levels is None else levels)
        images = together + sees_input
        chosen = [encoder.levels[level] for level in self.levels]
        chosen = [level._replace(channels=images * level.channels) for level in chosen]
        heads = seeded(lambda: [build_head(level, hidden) for level in chosen], seed, "discriminator", "init")
        self.heads = nn.ModuleList(heads)

    def features(self, images: Tensor) -> list[Tensor]:
        """(N, 3, H, W) in [0, 1], enlarged if small -> (N, C_l, h_l, w_l) for each level l, unit RMS."""
        if images.shape[-1] < self.input_px:
            size = (self.input_px, self.input_px)
            images = F.interpolate(images, size=size, mode="bilinear", align_corners=False)
        maps = self.encoder.features(images)
        chosen = [maps[level] for level in self.levels]  # whose sizes differ by orders of magnitude
        return [x / x.square().mean(dim=(1, 2, 3), keepdim=True).sqrt().clamp_min(1e-6) for x in chosen]

    def examples(self, features: Sequence[Tensor], given: Tensor | None, views: int) -> list[Tensor]:
        """Features of images, `views` of each object in a row -> what the heads judge, one row an example.

        given: the objects' input images (B, 3, H, W), for heads that see them. Of the same objects there may
        be several sets of images, one after the other.
        """
        rows = [x.unflatten(0, (-1, self.together)).flatten(1, 2) for x in features]
        if not self.sees_input:
            return rows
        assert given is not None, "this discriminator judges beside the input image"
        each = views // self.together
        sets = len(rows[0]) // (each * len(given))
        seen = [x.repeat_interleave(each, 0).repeat(sets, 1, 1, 1) for x in self.features(given)]
        return [torch.cat(both, 1) for both in zip(rows, seen, strict=True)]

    def logits(self, features: Sequence[Tensor]) -> list[Tensor]:
        return [head(f) for head, f in zip(self.heads, features, strict=True)]

    def forward(self, images: Tensor) -> list[Tensor]:
        return self.logits(self.features(images))


def load_discriminator(
    settings: Adversarial, seed: int, access: CheckpointAccess, views: int = 1
) -> Discriminator:
    """On the CPU with new heads, on Lite0 or CLIP ViT-B/32. UserError if that one's weights are missing.

    views: of an object, which the heads judge together if the settings say so.
    """
    lite0 = settings.encoder == "lite0"
    encoder = load_lite0(access) if lite0 else ClipLevels(load_clip(access=access))
    together = views if settings.all_views else 1
    return Discriminator(
        encoder,
        settings.hidden,
        seed,
        levels=settings.levels,
        together=together,
        sees_input=settings.sees_input,
    )


def build_head(level: Level, hidden: int) -> nn.Sequential:
    """(N, C, h, w) -> logits (N, 1, h, w). Of a 3 x 3 kernel on a vector only the centre would see it."""
    kernel = 3 if level.spatial else 1
    return nn.Sequential(
        spectral_norm(nn.Conv2d(level.channels, hidden, kernel, padding=kernel // 2)),
        nn.LeakyReLU(0.2),
        spectral_norm(nn.Conv2d(hidden, 1, 1)),
    )


def multilevel_bce(logits: Sequence[Tensor], target: float) -> Tensor:
    """Sum over levels of the mean sigmoid cross-entropy against one target (vision-aided GAN)."""
    bce = F.binary_cross_entropy_with_logits
    return torch.stack([bce(x.float(), torch.full_like(x, target).float()) for x in logits]).sum()


def generator_loss(
    discriminator: Discriminator,
    fakes: Tensor,
    target: float,
    augmentation: Augmentation | None,
    *,
    given: Tensor | None = None,
) -> Tensor:
    """Adversarial loss of renderings (B, V, 3, H, W); the heads receive no gradient and do not change.

    given: the input images (B, 3, H, W), for heads that see them; augmented as their views are.
    """
    discriminator.eval()
    discriminator.heads.requires_grad_(False)
    try:
        images, views = fakes.flatten(0, -4), fakes.shape[-4]
        features = discriminator.features(augmentation(images) if augmentation else images)
        inputs = _augmented(given, augmentation, views)
        return multilevel_bce(discriminator.logits(discriminator.examples(features, inputs, views)), target)
    finally:
        discriminator.heads.requires_grad_(True)


class HeadsLoss(NamedTuple):
    """The heads' loss, and the mean logit over levels and positions of real and of fake images."""

    loss: Tensor
    real: float
    fake: float


def discriminator_loss(
    discriminator: Discriminator,
    reals: Tensor,
    fakes: Tensor,
    target: float,
    augmentation: Augmentation | None,
    r1: float = 0.0,
    *,
    given: Tensor | None = None,
) -> HeadsLoss:
    """Reals (B, V, 3, H, W) towards the smoothed label, detached fakes towards 0 (halved), and R1.

    given: as for `generator_loss`.
    """
    discriminator.train()
    views = reals.shape[-4]
    real, fake = reals.detach().flatten(0, -4), fakes.detach().flatten(0, -4)
    if augmentation:
        real, fake = augmentation(real), augmentation(fake)
    with torch.no_grad():
        features = discriminator.features(torch.cat([real, fake]))
        features = discriminator.examples(features, _augmented(given, augmentation, views), views)
    if r1:
        features = [f.requires_grad_(True) for f in features]
    logits = discriminator.logits(features)
    count = len(features[0]) // 2
    on_real, on_fake = [x[:count] for x in logits], [x[count:] for x in logits]
    loss = 0.5 * (multilevel_bce(on_real, target) + multilevel_bce(on_fake, 0.0))
    if r1:
        loss = loss + r1 * r1_penalty(on_real, features, count)
    return HeadsLoss(loss, _mean_logit(on_real), _mean_logit(on_fake))


def _augmented(given: Tensor | None, augmentation: Augmentation | None, views: int) -> Tensor | None:
    return augmentation.first(views)(given) if augmentation and given is not None else given


def r1_penalty(logits: Sequence[Tensor], features: Sequence[Tensor], count: int) -> Tensor:
    """R1 (Mescheder et al., 2018) at the frozen features of the first `count` images, where the heads begin.

    Half the squared slope of each level's mean logit, times its positions (resolution does not count).
    """
    total = torch.stack([x.float().mean((1, 2, 3)).sum() for x in logits]).sum()
    slopes = torch.autograd.grad(total, features, create_graph=True)
    terms = [g[:count].square().sum((1, 2, 3)).mean() * (g.shape[-2] * g.shape[-1]) for g in slopes]
    return 0.5 * torch.stack(terms).sum()


def _mean_logit(logits: Sequence[Tensor]) -> float:
    return float(torch.stack([x.detach().float().mean() for x in logits]).mean())
