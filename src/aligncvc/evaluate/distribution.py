"""Distances between a method's whole set and the truth, as distributions of images (`metrics.feature_sets`).

Both compare two sets in the 1280 pooled features of the head of EfficientNet-Lite0 (the layer before its
classifier), taken at the images' own size, and in those of Lite2 where the protocol names it. Their values
compare with no published one, and they are never called FID or KID. `fid` itself (Heusel et al. 2017, arXiv
1706.08500) is there where its weights are.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from aligncvc.errors import UserError
from aligncvc.evaluate.records import FINAL_STEP
from aligncvc.evaluate.set_draws import SetDraws
from aligncvc.evaluate.trial import Drawn, Trial, Value
from aligncvc.metrics import feature_sets as sets
from aligncvc.metrics.halves import poses_between
from aligncvc.models.encoders.inception import FidInception
from aligncvc.models.encoders.lite0 import Lite0
from aligncvc.scene.views import at_common_size

_BATCH_PIXELS = 65536

DISTANCES = {"frechet": sets.frechet_draws, "kernel": sets.kernel_draws}

LEAST = {"frechet": 0.0, "kernel": -math.inf}
"""What an interval does not go below."""

Draws = Mapping[tuple[str, int], np.ndarray]
"""By (metric, step): a distance and its resampled values."""

Sampled = Mapping[tuple[str, int], Tensor]
"""By (object, seed): features (K, V, D) of V views after each of K kept sampling steps."""


@dataclass
class Features:
    """Of a method's set, gathered trial by trial: generated views, renderings at every kept step, the truth.

    fid_drawn, fid_truth: Inception's, at the scored views. size: height and width that the encoder saw. name:
    of the encoder in the metrics. apart: the truth is published pictures at cameras of their own, so that of
    each sample the final model's renderings there are compared, and no generated views.
    """

    encoder: Lite0
    fid: FidInception | None = None
    name: str = "lite0"
    views: dict[tuple[str, int], Tensor] = field(default_factory=dict)
    renders: dict[tuple[str, int], Tensor] = field(default_factory=dict)
    truth: dict[str, Tensor] = field(default_factory=dict)
    fid_drawn: dict[tuple[str, int], Tensor] = field(default_factory=dict)
    fid_truth: dict[str, Tensor] = field(default_factory=dict)
    size: tuple[int, int] | None = None
    apart: bool = False

    def add(self, trial: Trial, drawn: Drawn | None) -> None:
        """Views, renderings and truth at the smallest of their sizes. drawn: `trial.draw_scored()`."""
        self.apart = trial.poses is not None
        name, there = trial.object, compared_sets(trial, drawn)
        alike = dict(zip(there, at_common_size(*there.values()), strict=True))
        # embedded first and kept afterwards, so that a trial which fails half-way leaves nothing behind
        found = {
            side: embed_images(self.encoder, images)
            for side, images in alike.items()
            if side != "truth" or name not in self.truth
        }
        if self.fid is not None and drawn is not None:
            found["fid_drawn"] = self.fid.embed(drawn.rgb)
            if name not in self.fid_truth:
                found["fid_truth"] = self.fid.embed(trial.scored_truth)
        self.size = alike["truth"].shape[-2], alike["truth"].shape[-1]
        for side, features in found.items():
            getattr(self, side)[name if side.endswith("truth") else (name, trial.seed)] = features

    def values(self, seed: int) -> list[Value]:
        """The set's distances with their intervals; seed: of the bootstrap."""
        return self.measured(seed)[0]

    def measured(self, seed: int) -> tuple[list[Value], SetDraws]:
        """`values`, and the resampled distances behind those of the first and the last step."""
        draws = distribution_draws(self.views, self.renders, self.truth, self.name, root_seed=seed)
        if self.apart:  # they are of no kept step, but of the final model
            draws = {(metric, FINAL_STEP): values for (metric, _), values in draws.items()}
        fid = fid_family(self.fid_drawn, self.fid_truth, root_seed=seed)
        objects = sorted({name for name, _ in (*self.views, *self.renders)})
        ends = {key: values for key, values in draws.items() if key[1] in (1, _last(draws))}
        values = [*_family(draws), *(fid if self.name == "lite0" else [])]
        return values, SetDraws(objects, seed, ends)


def compared_sets(trial: Trial, drawn: Drawn | None) -> dict[str, Tensor]:
    """Images of `views`, `renders` (K, V, 3, H, W) and `truth` (V, 3, H, W) that are there, on white.

    At the rig's poses, or of published pictures at their cameras, all but the input's if that is not scored.
    """
    if trial.rig_truth is None:
        renders = {} if drawn is None else {"renders": drawn.rgb[None]}
        return {**renders, "truth": trial.scored_truth}
    given = {"views": trial.views, "renders": trial.renders, "truth": trial.rig_truth}
    return {side: images for side, images in given.items() if images is not None}


@torch.no_grad()
def embed_images(model: Lite0, images: Tensor) -> Tensor:
    """(..., 3, H, W) in [0, 1] -> (..., 1280), in batches; float32, since those of a whole set are kept."""
    flat = images.float().flatten(0, -4)
    batch = max(1, _BATCH_PIXELS // (flat.shape[-2] * flat.shape[-1]))
    features = torch.cat([model.embed(part) for part in flat.split(batch)])
    return features.view(*images.shape[:-3], -1)


def distribution_family(
    views: Sampled,
    renders: Sampled,
    truth: Mapping[str, Tensor],
    *,
    resamples: int = sets.RESAMPLES,
    root_seed: int = 0,
) -> list[Value]:
    """`distribution_draws` as values, `<name>`, `<name>_lo` and `<name>_hi` of one method's whole set."""
    return _family(distribution_draws(views, renders, truth, resamples=resamples, root_seed=root_seed))


def distribution_draws(
    views: Sampled,
    renders: Sampled,
    truth: Mapping[str, Tensor],
    encoder: str = "lite0",
    *,
    resamples: int = sets.RESAMPLES,
    root_seed: int = 0,
) -> Draws:
    """By `<kind>_<encoder>_<what>` and kept step 1..K: the distance, then resampled objects', (1 + B,).

    kind: frechet or kernel. what: `views` (generated views to ground truth), `renders` (renderings to ground
    truth), `views_renders` (generated views to renderings: what AlignCVC brings together). Objects that a
    side lacks (failed ones) are left out of both. truth: by object, (V, D) at the rig's poses. The resamples
    are the same for every method of the same objects. Raises UserError if an object has no truth or the
    numbers of steps differ.
    """
    draws: dict[tuple[str, int], np.ndarray] = {}
    both = views.keys() & renders.keys()
    generated, drawn = ({key: side[key] for key in both} for side in (views, renders))
    sides: list[tuple[str, Sampled, Sampled | None]] = [
        ("views", views, None), ("renders", renders, None), ("views_renders", generated, drawn),
    ]  # fmt: skip
    for what, first, second in sides:
        if not first:
            continue
        objects = sorted({name for name, _ in first})
        shown = _set_of(truth, objects)
        steps = {len(x) for side in (first, second or {}) for x in side.values()}
        if len(steps) > 1:
            raise UserError(f"the samples kept different numbers of steps ({sorted(steps)}); sample again")
        counts = sets.object_resamples(len(objects), resamples, root_seed)
        for step in range(*steps):
            one = sets.gather({key: x[step] for key, x in first.items()}, objects)
            other = shown if second is None else sets.gather({k: x[step] for k, x in second.items()}, objects)
            for kind, distance in DISTANCES.items():
                draws[f"{kind}_{encoder}_{what}", step + 1] = distance(one, other, counts)
    return draws


def fid_family(
    drawn: Mapping[tuple[str, int], Tensor],
    truth: Mapping[str, Tensor],
    *,
    root_seed: int = 0,
) -> list[Value]:
    """`fid`, `fid_lo`, `fid_hi` of one method's set; NaN without features (weights missing).

    Biased upward for few images (thousands are usual): compare it only between methods with the same number.
    drawn, truth: `FidInception.embed` of the model and of ground truth at the scored views, (S, 2048).
    """
    if not drawn:
        return [Value("fid", math.nan)]
    objects = sorted({name for name, _ in drawn})
    counts = sets.object_resamples(len(objects), sets.RESAMPLES, root_seed)
    distance = sets.frechet_with_interval(sets.gather(drawn, objects), _set_of(truth, objects), counts)
    return _values("fid", distance)


def floor_family(ring: Mapping[str, Tensor], rig: Sequence[int], encoder: str = "lite0") -> list[Value]:
    """Distances of ground truth at the rig's poses to ground truth between: less says nothing of a method.

    ring: by object, features (R, D) of the whole ring. Nothing where the rig leaves no pose between its own.
    """
    poses = poses_between(len(next(iter(ring.values()))), rig)
    if not poses:
        return []
    one, other = (_set_of({n: x[p] for n, x in ring.items()}, sorted(ring)) for p in (list(rig), poses))
    whole = np.ones((1, len(ring)))
    found = {kind: distance(one, other, whole) for kind, distance in DISTANCES.items()}
    return [Value(f"{kind}_{encoder}_floor", float(values[0])) for kind, values in found.items()]


def _last(draws: Draws) -> int:
    return max((step for _, step in draws), default=1)


def _family(draws: Draws) -> list[Value]:
    intervals = {key: sets.interval_of(found, LEAST[key[0].split("_")[0]]) for key, found in draws.items()}
    return [value for (name, step), found in intervals.items() for value in _values(name, found, step)]


def _values(name: str, interval: sets.Interval, step: int = FINAL_STEP) -> list[Value]:
    ends = zip(("", "_lo", "_hi"), interval, strict=True)
    return [Value(name + end, value, step=step) for end, value in ends]


def _set_of(truth: Mapping[str, Tensor], objects: Sequence[str]) -> sets.FeatureSet:
    """Ground truth of some objects as a set. Raises UserError if one has none."""
    strangers = [name for name in objects if name not in truth]
    if strangers:
        raise UserError(
            f"there is no ground truth for {', '.join(strangers[:3])}; evaluate against the renders that "
            "the method was sampled from"
        )
    return sets.gather({(name, 0): truth[name] for name in objects}, objects)
