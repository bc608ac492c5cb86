"""Distances between sets of images: generated views, renderings and ground truth as distributions.

AlignCVC claims to bring the distributions of generated views and of renderings to that of real views, and
so to each other. Both distances here compare two sets in the 1280 pooled features of the head of
EfficientNet-Lite0 (the layer before its classifier), taken at the images' own size, without resizing. They
are the distances behind FID and KID in another feature space: their values compare with no published one,
and they are never called FID or KID.

*Frechet distance*: of Gaussians with the sets' means and (unbiased) covariances. It is biased upward, the
more so the fewer the images: with fewer images than features two samples of one distribution are far from
0. `floor_family` measures how far ground truth is from ground truth at the same number of images. *Kernel
distance*: squared maximum mean discrepancy with KID's kernel (<x, y> / d + 1)^3. Its estimate only pairs
images of different objects, which keeps it free of bias although views of one object depend on each other
and both sets show the same objects; it can be negative.

Both see sets only: the right views under the wrong objects (`control:shuffled`) have Frechet distance 0.
Their kernel distance is far below 0, because each image's twin then stands under another object, and such
pairs are the ones that count: free of bias means for sets that are not made of one another.
Intervals (95 %) resample objects, with all their views and seeds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from aligncvc.errors import UserError
from aligncvc.evaluate.subject import Value
from aligncvc.metrics.frechet import frechet_distances, interval_resamples
from aligncvc.models.encoders.lite0 import Lite0
from aligncvc.streams import numpy_stream

RESAMPLES = 1000
_LEVEL = 0.95
_BATCH_PIXELS = 65536

Sampled = Mapping[tuple[str, int], Tensor]
"""By (object, seed): features (K, V, D) of V views after each of K kept sampling steps."""


@dataclass(frozen=True)
class FeatureSet:
    """n images: rows (n, D) float64 and the object, 0 .. O - 1, that each row shows (n,)."""

    rows: Tensor
    owner: Tensor


@torch.no_grad()
def embed_images(model: Lite0, images: Tensor) -> Tensor:
    """(..., 3, H, W) in [0, 1] -> (..., 1280) float64, in batches."""
    flat = images.float().flatten(0, -4)
    batch = max(1, _BATCH_PIXELS // (flat.shape[-2] * flat.shape[-1]))
    features = torch.cat([model.embed(part) for part in flat.split(batch)])
    return features.double().view(*images.shape[:-3], -1)


def distribution_family(
    views: Sampled,
    renders: Sampled,
    truth: Mapping[str, Tensor],
    *,
    resamples: int = RESAMPLES,
    root_seed: int = 0,
) -> list[Value]:
    """Both distances, after each kept step, of one method's whole set.

    views, renders: features of generated views and of renderings, empty where a method has none. truth: by
    object, (V, D) at the rig's poses. The values are `<kind>_lite0_<what>`, `..._lo` and `..._hi` with
    kind `frechet` or `kernel` and what `views` (generated views to ground truth), `renders` (renderings to
    ground truth), `views_renders` (generated views to renderings: the alignment that the paper claims);
    step = 1..K. Objects that a side lacks (failed ones) are left out of both.
    Intervals are NaN for a single object. Raises UserError if an object has no truth or
    the numbers of steps differ.
    """
    values: list[Value] = []
    for what, first, second in (
        ("views", views, None),
        ("renders", renders, None),
        ("views_renders", views, renders),
    ):
        if second is not None:  # only what has both
            keys = first.keys() & second.keys()
            first, second = ({key: x[key] for key in keys} for x in (first, second))
        if not first:
            continue
        objects = sorted({name for name, _ in first})
        check_truth(truth, objects)
        _check_steps(first, second or {})
        shown = gather({(name, 0): truth[name] for name in objects}, objects)
        counts = object_resamples(len(objects), resamples, root_seed)
        for step in range(len(next(iter(first.values())))):
            one = gather(_at(first, step), objects)
            other = shown if second is None else gather(_at(second, step), objects)
            for kind, triple in (
                ("frechet", frechet_with_interval(one, other, counts)),
                ("kernel", kernel_with_interval(one, other, counts)),
            ):
                for end, value in zip(("", "_lo", "_hi"), triple, strict=True):
                    values.append(Value(f"{kind}_lite0_{what}{end}", value, step=step + 1))
    return values


def floor_family(ring: Mapping[str, Tensor], rig: Sequence[int]) -> list[Value]:
    """`frechet_lite0_floor`, `kernel_lite0_floor`: ground truth at the rig's poses to ground truth between.

    ring: by object, features (R, D) of the whole ring. Both sets show the same objects, equally often, from
    other sides (half a rig spacing on): distances below these say nothing about a method. They belong to the
    render set, not to a method. Raises UserError where the rig leaves no pose between its own.
    """
    size = len(next(iter(ring.values())))
    between = [(i + size // len(rig) // 2) % size for i in rig]
    if set(between) & set(rig):
        raise UserError(
            f"the ring of {size} views has none between the {len(rig)} of the rig; render a denser ring"
        )
    objects = sorted(ring)
    one, other = (
        gather({(name, 0): ring[name][poses] for name in objects}, objects) for poses in (list(rig), between)
    )
    whole = np.ones((1, len(objects)))
    return [
        Value("frechet_lite0_floor", float(_frechet(one, other, whole)[0])),
        Value("kernel_lite0_floor", float(_kernel(one, other, whole)[0])),
    ]


def object_resamples(objects: int, resamples: int, root_seed: int) -> np.ndarray:
    """(1 + B, O): how often each object counts; row 0 is the set itself. The same for every method.

    Resamples of a single object say nothing: B = 0 then.
    """
    draws = numpy_stream(root_seed, "distribution", "bootstrap", objects)
    counts = draws.multinomial(objects, np.full(objects, 1 / objects), resamples if objects > 1 else 0)
    return np.concatenate([np.ones((1, objects)), counts])


def frechet_with_interval(
    one: FeatureSet, other: FeatureSet, counts: np.ndarray
) -> tuple[float, float, float]:
    """Frechet distance and its interval; at most as many resamples are used as its cost allows."""
    counts = counts[: 1 + interval_resamples(one.rows, other.rows)]
    return _interval(_frechet(one, other, counts), least=0.0)


def kernel_with_interval(
    one: FeatureSet, other: FeatureSet, counts: np.ndarray
) -> tuple[float, float, float]:
    """Kernel distance and its interval; NaN for a single object, which has no other to be paired with."""
    return _interval(_kernel(one, other, counts), least=-np.inf)


def _interval(values: np.ndarray, least: float) -> tuple[float, float, float]:
    """The distance of the set itself (row 0) and the middle 95 % of its resamples', moved onto it.

    A resample shows fewer different objects than the set, so its own bias is larger: the spread of the
    resamples is kept and their mean is moved to the estimate. In simulations of 12 and 30 objects it held
    the distance's expectation for that many objects (bias included) in 91 to 99 of 100 trials.
    """
    estimate, resampled = float(values[0]), values[1:][np.isfinite(values[1:])]
    if len(resampled) == 0:
        return estimate, float("nan"), float("nan")
    low, high = np.quantile(resampled - resampled.mean(), [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
    return estimate, max(least, estimate + float(low)), estimate + float(high)


def _frechet(one: FeatureSet, other: FeatureSet, counts: np.ndarray) -> np.ndarray:
    weights = torch.from_numpy(counts).double()
    return frechet_distances(one.rows, other.rows, weights[:, one.owner], weights[:, other.owner]).numpy()


def _kernel(one: FeatureSet, other: FeatureSet, counts: np.ndarray) -> np.ndarray:
    """Unbiased MMD^2 for each row of object counts; copies of an object are not paired with each other."""

    def mean(a: FeatureSet, b: FeatureSet) -> np.ndarray:
        kernel = (a.rows @ b.rows.T / a.rows.shape[1] + 1) ** 3
        sums, pairs = (
            _sum_by_object(x, a.owner, b.owner, counts.shape[1]) for x in (kernel, torch.ones_like(kernel))
        )
        weigh = [(counts @ x * counts).sum(1) for x in (sums, pairs)]
        with np.errstate(invalid="ignore", divide="ignore"):
            return weigh[0] / weigh[1]

    return mean(one, one) + mean(other, other) - 2 * mean(one, other)


def _sum_by_object(x: Tensor, rows: Tensor, columns: Tensor, objects: int) -> np.ndarray:
    """(n, m) -> (O, O) sums over the images of each pair of objects; 0 for an object with itself."""
    sums = torch.zeros(objects, x.shape[1], dtype=x.dtype).index_add_(0, rows, x)
    sums = torch.zeros(objects, objects, dtype=x.dtype).index_add_(1, columns, sums)
    return sums.fill_diagonal_(0).numpy()


def gather(features: Mapping[tuple[str, int], Tensor], objects: Sequence[str]) -> FeatureSet:
    """Features (V, D) by (object, seed) as one set, in the order of their names."""
    keys = sorted(features)
    owner = [objects.index(name) for name, seed in keys for _ in range(len(features[name, seed]))]
    return FeatureSet(torch.cat([features[key].double() for key in keys]), torch.tensor(owner))


def _at(sampled: Sampled, step: int) -> dict[tuple[str, int], Tensor]:
    return {key: steps[step] for key, steps in sampled.items()}


def check_truth(truth: Mapping[str, Tensor], objects: Sequence[str]) -> None:
    """Raise UserError if an object has no ground truth."""
    strangers = [name for name in objects if name not in truth]
    if strangers:
        raise UserError(
            f"there is no ground truth for {', '.join(strangers[:3])}; evaluate against the renders that "
            "the method was sampled from"
        )


def _check_steps(*sampled: Sampled) -> None:
    steps = {len(x) for features in sampled for x in features.values()}
    if len(steps) > 1:
        raise UserError(f"the samples kept different numbers of steps ({sorted(steps)}); sample again")
