"""Cross-view consistency (CVC): a family of measures, after each kept sampling step.

Which metric the paper calls CVC is not public, so none here is called that. They answer different questions:

* *residual*: do generated views and renderings of their reconstruction agree at the same poses? A
  reconstructor that fits inconsistent views hides their fault, so the next two never compare a view with a
  model that has seen it.
* *delta* (Ouroboros3D, arXiv 2406.03184): score of generated views against ground truth minus that of the
  renderings at the same poses; 0 where neither is better.
* *held-out*: one half of the views is reconstructed and drawn at the poses of the other half, where the
  generated views are the measure; both ways.
* *split-half* (MVGBench's idea, arXiv 2507.00006): the two halves' reconstructions, drawn at ring poses that
  belong to no view, are compared with each other.

Halves are reconstructed by the *judge*: the configuration's pretrained reconstructor, never an aligned one,
the same for every method. They are neighbours on the ring ("adjacent"): front and back ("even-odd") share so
little surface that ground truth could not be told from jittered views (docs/lab-log.md). Blur raises those
in PSNR and lowers those in LPIPS (docs/metrics.md): read both, beside the scores against ground truth.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, TypeVar

import torch
from torch import Tensor, nn

from aligncvc.errors import UserError
from aligncvc.evaluate.geometry import chamfer_half_sum
from aligncvc.evaluate.image_scores import per_view
from aligncvc.evaluate.models import OPAQUE
from aligncvc.evaluate.subject import Subject, Value
from aligncvc.metrics.image import Metric
from aligncvc.scene.cameras import Cameras, relative_c2w
from aligncvc.scene.gaussians import Gaussians
from aligncvc.scene.renderset import batched
from aligncvc.scene.views import at_common_size
from aligncvc.splat import Rendering, rasterise
from aligncvc.splat.constants import ALPHA_MIN

Halves = Literal["adjacent", "even-odd"]

T = TypeVar("T")


@dataclass(frozen=True)
class ConsistencyTools:
    """judge: the reconstructor for split-half and held-out scores, None leaves them out.

    metrics: image metrics by name (psnr, ssim, lpips, mae). steps: after which the costly scores, split-half
    and held-out, are measured: all, four evenly spaced ones that end with the last, or the last only.
    """

    metrics: Mapping[str, Metric]
    judge: nn.Module | None = None
    halves: Halves = "adjacent"
    steps: Literal["all", "four", "last"] = "all"
    delta: tuple[str, ...] = field(default=("psnr", "ssim", "lpips"))


def consistency_family(subject: Subject, tools: ConsistencyTools) -> Iterator[Value]:
    """residual_*, delta_*, heldout_*, split_*: each view's where a view has one, and means, for steps 1..K.

    Nothing for a subject without generated views; without renderings only held-out and split-half scores.
    """
    if subject.views is None:
        return
    if subject.renders is not None:
        yield from residual(subject, tools.metrics)
        yield from delta(subject, {name: tools.metrics[name] for name in tools.delta})
    if tools.judge is not None:
        yield from judged(subject, tools)


def residual(subject: Subject, metrics: Mapping[str, Metric]) -> Iterator[Value]:
    """`residual_<metric>`: generated views against renderings at the same pose."""
    curves = matched_pose_residual(_given(subject.views), _given(subject.renders), metrics)
    for name, curve in curves.items():
        for step, values in enumerate(curve, start=1):
            yield from per_view(name, values, subject.rig, step)


def matched_pose_residual(views: Tensor, renders: Tensor, metrics: Mapping[str, Metric]) -> dict[str, Tensor]:
    """Score generated views against renderings at the same poses.

    views, renders: (K, V, 3, H, W) in [0, 1], one set for each kept sampling step, compared at the smaller of
    their sizes (`views.at_common_size`). metrics: by name. Returns `residual_<name>` -> (K, V). Raises
    UserError if they are not as many.
    """
    if views.shape[:-2] != renders.shape[:-2] or views.ndim != 5:
        raise UserError(
            f"generated views {tuple(views.shape)} and renderings {tuple(renders.shape)} do not match; "
            "sample the object again"
        )
    return {f"residual_{name}": _scores(metric, views, renders) for name, metric in metrics.items()}


def delta(subject: Subject, metrics: Mapping[str, Metric]) -> Iterator[Value]:
    """`delta_<metric>`: generated views' score against ground truth minus the renderings', at the rig.

    All three at the smallest of their sizes: a difference of scores at two sizes would not be 0 for equals.
    """
    views, renders, truth = at_common_size(_given(subject.views), _given(subject.renders), subject.rig_truth)
    truth = truth.expand_as(views)
    for name, metric in metrics.items():
        curve = _scores(metric, views, truth) - _scores(metric, renders, truth)
        for step, values in enumerate(curve, start=1):
            yield from per_view(f"delta_{name}", values, subject.rig, step)


def judged(subject: Subject, tools: ConsistencyTools) -> Iterator[Value]:
    """Held-out and split-half scores of the two halves' reconstructions."""
    views = _given(subject.views)
    steps = judged_steps(len(views), tools.steps)
    views = views[[step - 1 for step in steps]]
    cameras, between = subject.truth.cameras[subject.rig], held_out_poses(len(subject.truth), subject.rig)
    parts = split(len(subject.rig), tools.halves)
    models = [HalfModel.of(_given(tools.judge), views, cameras, part) for part in parts]
    metrics = {name: tools.metrics[name] for name in ("psnr", "ssim", "lpips")}

    crossed = [
        model.draw(cameras[other]).rgb.clamp(0, 1)
        for model, other in zip(models, reversed(parts), strict=True)
    ]
    order = [view for part in reversed(parts) for view in part]
    measured, drawn = views[:, order], torch.cat(crossed, 1)
    for name, metric in metrics.items():
        for step, values in zip(steps, _scores(metric, drawn, measured), strict=True):
            yield from per_view(f"heldout_{name}", values, [subject.rig[i] for i in order], step)

    if not between:
        return
    one, other = (model.draw(subject.truth.cameras[between]) for model in models)
    for name, metric in metrics.items():
        curve = _scores(metric, one.rgb.clamp(0, 1), other.rgb.clamp(0, 1))
        for step, values in zip(steps, curve, strict=True):
            yield from per_view(f"split_{name}", values, between, step)
    for step, values in zip(steps, depth_mae(one, other), strict=True):
        yield from per_view("split_depth_mae", values, between, step)
    clouds = [model.points() for model in models]
    for step, pair in zip(steps, zip(*clouds, strict=True), strict=True):
        yield Value(
            "split_chamfer_half_sum", chamfer_half_sum(*(p.double().numpy() for p in pair)), step=step
        )


def judged_steps(count: int, which: Literal["all", "four", "last"]) -> list[int]:
    """Steps 1..count that are judged; the last always is."""
    kept = {"all": count, "four": min(4, count), "last": 1}[which]
    return [round((i + 1) * count / kept) for i in range(kept)]


@dataclass(frozen=True)
class HalfModel:
    """The judge's reconstruction of some of the views at every step, in the frame of the first of them.

    gaussians: (K, N, ..). reference: (4, 4) pose of that first view in the subject's frame.
    """

    gaussians: Gaussians
    reference: Tensor

    @staticmethod
    @torch.no_grad()
    def of(judge: nn.Module, views: Tensor, cameras: Cameras, part: list[int]) -> HalfModel:
        """views (K, V, 3, H, W), cameras (V, 4, 4) of the rig; part: members to reconstruct from."""
        reference = cameras.c2w[part[0]]
        turned = replace(cameras[part], c2w=relative_c2w(cameras[part].c2w, reference))
        return HalfModel(judge(views[:, part], batched([turned] * len(views))), reference)

    @torch.no_grad()
    def draw(self, cameras: Cameras) -> Rendering:
        """At cameras (P, 4, 4) of the subject's frame; members (K, P, ...)."""
        return rasterise(self.gaussians, replace(cameras, c2w=relative_c2w(cameras.c2w, self.reference)))

    def points(self) -> list[Tensor]:
        """Centres of the visible Gaussians of each step, (n, 3), in the subject's frame."""
        turn = relative_c2w(torch.eye(4)[None], self.reference)[0, :3, :3]  # subject's frame -> this one
        means = self.gaussians.means @ turn  # its inverse, row vectors
        visible = self.gaussians.opacities > ALPHA_MIN
        return [m[v] for m, v in zip(means, visible, strict=True)]


def split(views: int, halves: Halves) -> list[list[int]]:
    """Members of two disjoint halves of the rig. Raises UserError for fewer than two views."""
    if views < 2:
        raise UserError(f"a rig of {views} view cannot be split in halves; use a rig of two views or more")
    if halves == "even-odd":
        return [list(range(0, views, 2)), list(range(1, views, 2))]
    return [list(range(views // 2)), list(range(views // 2, views))]


def held_out_poses(ring: int, rig: list[int]) -> list[int]:
    """Ring indices midway between neighbouring rig views; none where the ring is the rig."""
    gap = ring // len(rig)
    return [(i + gap // 2) % ring for i in rig] if gap > 1 else []


def depth_mae(one: Rendering, other: Rendering) -> Tensor:
    """(K, P) mean |difference| of surface depths over the pixels where either has a surface (MVGBench).

    Depth is 0 where there is none, so a silhouette that differs counts. NaN where both are empty.
    """
    depths = [torch.where(r.alpha > OPAQUE, r.depth / r.alpha.clamp_min(1e-6), 0.0) for r in (one, other)]
    either = ((depths[0] > 0) | (depths[1] > 0)).to(depths[0].dtype)
    return (depths[0] - depths[1]).abs().sum((-3, -2, -1)) / either.sum((-3, -2, -1))


def _scores(metric: Metric, images: Tensor, target: Tensor) -> Tensor:
    """(K, P, 3, H, W) twice, compared at the smaller of their sizes -> (K, P)."""
    images, target = at_common_size(images, target)
    return metric(images.flatten(0, 1), target.flatten(0, 1)).view(images.shape[:2])


def _given(thing: T | None) -> T:
    assert thing is not None
    return thing
