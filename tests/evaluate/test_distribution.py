"""Distances between sets: closed forms of Gaussians, no bias, objects resampled, twice the same."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from torch import Tensor

from aligncvc.errors import UserError
from aligncvc.evaluate import catalogue
from aligncvc.evaluate.distribution import (
    Features,
    distribution_family,
    embed_images,
    fid_family,
    floor_family,
)
from aligncvc.evaluate.set_draws import SetDraws, draws_file, joint, merged
from aligncvc.metrics.feature_sets import (
    FeatureSet,
    frechet_with_interval,
    gather,
    interval_of,
    kernel_with_interval,
    object_resamples,
)
from aligncvc.metrics.frechet import frechet_distance, frechet_distances
from aligncvc.models.encoders.lite0 import load_lite0

V, D = 4, 12


def normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def whitened(seed: int, n: int, d: int) -> Tensor:
    """(n, d), n > d: mean exactly 0 and unbiased covariance exactly the identity."""
    x = normal(seed, n, d)
    x = x - x.mean(0)
    return torch.linalg.qr(x).Q * math.sqrt(n - 1)


def per_object(seed: int, objects: int = 8, spread: float = 0.5) -> dict[str, Tensor]:
    """By object, (V, D): views of one object resemble each other."""
    centres, noise = normal(seed, objects, 1, D), normal(seed + 1000, objects, V, D)
    return {f"object-{i}": centres[i] + spread * noise[i] for i in range(objects)}


def sampled(truth: dict[str, Tensor], offset: float, steps: int = 2) -> dict[tuple[str, int], Tensor]:
    return {
        (name, 0): torch.stack([x + offset / (step + 1) for step in range(steps)])
        for name, x in truth.items()
    }


@pytest.mark.parametrize("n", [40, 9])
def test_frechet_of_two_gaussians_in_closed_form(n: int) -> None:
    # Diagonal Gaussians: |m|^2 + sum (s1 - s2)^2. n = 40: by triangular factors; 9 of 8 dimensions as well.
    d = 8
    first, second = torch.linspace(0.5, 2, d).double(), torch.linspace(1.5, 0.1, d).double()
    shift = torch.arange(d).double() / 4
    x, y = whitened(0, n, d) * first, whitened(1, n + 3, d) * second + shift
    expected = float((shift**2).sum() + ((first - second) ** 2).sum())
    assert frechet_distance(x, y) == pytest.approx(expected, rel=1e-9)


def test_frechet_of_correlated_gaussians_agrees_with_the_matrix_square_root() -> None:
    mix = normal(3, 6, 6)
    x, y = normal(4, 300, 6) @ mix, normal(5, 200, 6) + 0.3
    c1, c2 = (np.cov(rows.numpy().T) for rows in (x, y))
    mean = x.mean(0) - y.mean(0)
    expected = float(mean @ mean) + np.trace(c1 + c2 - 2 * sqrtm(c1 @ c2).real)
    assert frechet_distance(x, y) == pytest.approx(float(expected), rel=1e-8)


def test_frechet_of_few_images_in_many_dimensions_is_exact() -> None:
    # Two sets in orthogonal subspaces: no overlap, so the traces add up.
    x, y = torch.zeros(5, 400, dtype=torch.float64), torch.zeros(7, 400, dtype=torch.float64)
    x[:, :3], y[:, 200:206] = normal(6, 5, 3), normal(7, 7, 6)
    traces = float(x.var(0).sum() + y.var(0).sum())
    apart = float((x.mean(0) - y.mean(0)).square().sum())
    assert frechet_distance(x, y) == pytest.approx(apart + traces, rel=1e-12)
    assert frechet_distance(x, x) == pytest.approx(0, abs=1e-9)
    # A rotation of the feature space changes nothing; the same rows in fewer dimensions neither.
    rotation = torch.linalg.qr(normal(8, 400, 400)).Q
    small = normal(9, 30, 5), normal(10, 20, 5) * 2 + 1
    large = [torch.nn.functional.pad(rows, (0, 395)) @ rotation for rows in small]
    assert frechet_distance(*large) == pytest.approx(frechet_distance(*small), rel=1e-9)


@pytest.mark.parametrize("dimensions", [3, 200])
def test_weights_count_rows_as_copies_would(dimensions: int) -> None:
    x, y = normal(11, 6, dimensions), normal(12, 5, dimensions)
    wx, wy = torch.tensor([2.0, 0, 1, 3, 0, 1]).double(), torch.tensor([1.0, 1, 0, 2, 1]).double()
    copies = [rows.repeat_interleave(w.long(), 0) for rows, w in ((x, wx), (y, wy))]
    found = frechet_distances(x, y, wx[None], wy[None])
    assert float(found) == pytest.approx(frechet_distance(*copies), rel=1e-9)
    lonely = torch.eye(6, dtype=torch.float64)[:1]
    assert math.isnan(float(frechet_distances(x, y, lonely, wy[None])))


def test_kernel_distance_of_two_objects_by_hand() -> None:
    one = gather({("a", 0): torch.tensor([[1.0, 0]]), ("b", 0): torch.tensor([[0.0, 1]])}, ["a", "b"])
    other = gather({("a", 0): torch.tensor([[1.0, 1]]), ("b", 0): torch.tensor([[0.0, 0]])}, ["a", "b"])
    # k(x, y) = (<x, y> / 2 + 1)^3, pairs of different objects: 1 + 1 - (k(a, 0) + k(b, (1, 1)) = 1 + 1.5^3).
    estimate, low, high = kernel_with_interval(one, other, np.ones((1, 2)))
    assert estimate == pytest.approx(2 - (1 + 1.5**3))
    assert math.isnan(low) and math.isnan(high)


def test_kernel_distance_is_unbiased() -> None:
    # Sets of one distribution: zero on average, on both sides of zero; another distribution: not.
    whole = np.ones((1, 10))
    names = [f"object-{i}" for i in range(10)]

    def distance(seed: int, offset: float) -> float:
        one, other = (
            gather({(n, 0): x for n, x in per_object(s, 10).items()}, names) for s in (seed, seed + 500)
        )
        return kernel_with_interval(one, type(one)(other.rows + offset, other.owner), whole)[0]

    same = np.array([distance(seed, 0.0) for seed in range(400)])
    error = same.std() / math.sqrt(len(same))
    assert abs(same.mean()) < 3 * error
    assert 0.2 < (same < 0).mean() < 0.8
    assert np.mean([distance(seed, 0.7) for seed in range(20)]) > 20 * error


def test_kernel_distance_of_a_set_to_itself_is_zero_although_both_show_the_same_objects() -> None:
    truth = per_object(0)
    one = gather({(name, 0): x for name, x in truth.items()}, sorted(truth))
    assert kernel_with_interval(one, one, np.ones((1, 8)))[0] == pytest.approx(0, abs=1e-12)


def test_frechet_of_few_samples_is_biased_upward_and_the_floor_shows_it() -> None:
    ring = {
        name: torch.cat([x, x + 0.5 * normal(i, V, D)]) for i, (name, x) in enumerate(per_object(0).items())
    }
    values = {v.metric: v.value for v in floor_family(ring, [0, 2, 4, 6])}
    assert values.keys() == {"frechet_lite0_floor", "kernel_lite0_floor"}
    assert values["frechet_lite0_floor"] > 0
    poses = [{(n, 0): x[p] for n, x in ring.items()} for p in ([0, 2, 4, 6], [1, 3, 5, 7])]
    one, other = (gather(p, sorted(ring)) for p in poses)
    assert values["frechet_lite0_floor"] == pytest.approx(frechet_distance(one.rows, other.rows), rel=1e-9)
    assert floor_family(ring, list(range(8))) == [], "no pose lies between"


def test_family_has_the_catalogues_names_each_step_and_intervals_around_the_values() -> None:
    truth = per_object(0)
    views, renders = sampled(truth, 1.0), sampled(truth, 2.0)
    values = {(v.metric, v.step): v.value for v in distribution_family(views, renders, truth, resamples=100)}
    named = [m.name for m in catalogue.CATALOGUE.values() if "_lite0_" in m.name and m.per_step]
    assert {name for name, _ in values} == {f"{n}{end}" for n in named for end in ("", "_lo", "_hi")}
    assert {step for _, step in values} == {1, 2}
    for name in named:
        for step in (1, 2):
            low, middle, high = (values[f"{name}{end}", step] for end in ("_lo", "", "_hi"))
            assert low <= middle <= high
    assert values["frechet_lite0_views", 1] == pytest.approx(D * 1.0**2, rel=1e-6)  # a pure shift
    assert values["frechet_lite0_renders", 2] == pytest.approx(D * 1.0**2, rel=1e-6)
    assert values["frechet_lite0_views_renders", 2] == pytest.approx(D * 0.5**2, rel=1e-6)
    assert values["kernel_lite0_renders", 1] > values["kernel_lite0_views", 1] > 0


def test_family_does_not_depend_on_order_and_repeats_exactly() -> None:
    truth = per_object(0)
    views, renders = (
        {(n, s): x + 0.1 * s for s in (0, 1) for (n, _), x in sampled(truth, offset).items()}
        for offset in (1.0, 2.0)
    )
    once = distribution_family(views, renders, truth, resamples=50, root_seed=3)
    assert once == distribution_family(views, renders, truth, resamples=50, root_seed=3)
    backwards = [dict(reversed(list(x.items()))) for x in (views, renders)]
    assert once == distribution_family(
        *backwards, dict(reversed(list(truth.items()))), resamples=50, root_seed=3
    )
    turned = {key: x.flip(1) for key, x in views.items()}
    for a, b in zip(
        once, distribution_family(turned, renders, truth, resamples=50, root_seed=3), strict=True
    ):
        assert a.value == pytest.approx(b.value, rel=1e-6, abs=1e-9)
    other = distribution_family(views, renders, truth, resamples=50, root_seed=4)
    assert [v.value for v in once if v.metric.endswith("2")] == [
        v.value for v in other if v.metric.endswith("2")
    ]
    assert [v.value for v in once if v.metric.endswith("_lo")] != [
        v.value for v in other if v.metric.endswith("_lo")
    ]


def test_intervals_resample_objects_not_images() -> None:
    # Views of an object are copies of one: four times the images carry no more information.
    centres = per_object(0, 20, spread=0.0)
    counts = object_resamples(20, 400, 0)
    assert counts.shape == (401, 20) and (counts.sum(1) == 20).all() and (counts[0] == 1).all()
    names, shifted = sorted(centres), {n: x + 0.5 for n, x in per_object(50, 20, spread=0.0).items()}

    def width(views: int) -> float:
        one, other = (gather({(n, 0): x[:views] for n, x in s.items()}, names) for s in (centres, shifted))
        _, low, high = kernel_with_interval(one, other, counts)
        return high - low

    assert width(4) == pytest.approx(width(1), rel=1e-9) and width(1) > 0
    assert object_resamples(1, 400, 0).shape == (1, 1)


def test_intervals_cover_the_expectation_about_as_often_as_they_say() -> None:
    # 95 % nominal; 12 objects, views that are spread more and shifted. (For equal distributions: 99 %.)
    names, once, trials = [f"object-{i}" for i in range(12)], np.ones((1, 12)), 100

    def pair(seed: int) -> list[FeatureSet]:
        truth, other = per_object(seed, 12), per_object(seed + 5000, 12)
        moved = {name: 1.3 * x + 0.4 for name, x in other.items()}
        return [gather({(name, 0): x for name, x in s.items()}, names) for s in (truth, moved)]

    for distance in (kernel_with_interval, frechet_with_interval):
        expectation = np.mean([distance(*pair(10_000 + seed), once)[0] for seed in range(300)])
        ends = [distance(*pair(seed), object_resamples(12, 200, seed))[1:] for seed in range(trials)]
        assert 0.88 <= np.mean([low <= expectation <= high for low, high in ends]) <= 1
        wrong = 5 * expectation
        assert np.mean([low <= wrong <= high for low, high in ends]) < 0.3, "intervals may not hold anything"


def test_missing_sides_and_wrong_inputs() -> None:
    truth = per_object(0)
    views = sampled(truth, 1.0)
    only = distribution_family(views, {}, truth, resamples=10)
    assert {v.metric for v in only} == {
        f"{k}_lite0_views{e}" for k in ("frechet", "kernel") for e in ("", "_lo", "_hi")
    }
    fewer = {key: x for key, x in views.items() if key[0] != "object-3"}  # a failed object
    assert distribution_family(fewer, {}, truth, resamples=10)[0].value == pytest.approx(D, rel=1e-6)
    with pytest.raises(UserError, match="no ground truth for object-0"):
        distribution_family(views, {}, {n: x for n, x in truth.items() if n != "object-0"})
    both = distribution_family(views, {k: x + 0.5 for k, x in fewer.items()}, truth, resamples=10)
    assert {v.metric: v.value for v in both}["frechet_lite0_views_renders"] == pytest.approx(D * 0.5**2)
    with pytest.raises(UserError, match="different numbers of steps"):
        distribution_family(views, sampled(truth, 1.0, steps=3), truth)


def test_a_single_object_has_no_interval() -> None:
    truth = {"only": normal(0, V, D)}
    values = {v.metric: v.value for v in distribution_family(sampled(truth, 1.0, 1), {}, truth)}
    assert values["frechet_lite0_views"] == pytest.approx(D, rel=1e-6)
    assert math.isnan(values["frechet_lite0_views_lo"]) and math.isnan(values["kernel_lite0_views"])


def test_rows_that_count_nothing_are_as_if_they_were_not_there() -> None:
    """A resample of few objects is the distance of those alone, and its memory does not grow with others."""
    x, y = normal(0, 12, 40), normal(1, 12, 40) + 0.5
    counts = torch.tensor([1, 0, 2, 0, 0, 1, 1, 0, 1, 0, 3, 0], dtype=torch.float64)[None]
    drawn = counts[0].long()
    alone = frechet_distance(x.repeat_interleave(drawn, 0), y.repeat_interleave(drawn, 0))
    assert float(frechet_distances(x, y, counts, counts)) == pytest.approx(alone, rel=1e-9)


def test_embedding_in_batches_is_the_embedding() -> None:
    lite0 = load_lite0()
    images = torch.rand(2, 9, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    found = embed_images(lite0, images)
    assert found.shape == (2, 9, 1280) and found.dtype == torch.float32
    with torch.no_grad():
        expected = lite0.embed(images[1, 8:9])[0]
    assert torch.allclose(found[1, 8], expected, atol=1e-4)


def test_fid_is_the_frechet_distance_of_all_images_or_not_a_number() -> None:
    truth = per_object(0)
    drawn = {(name, seed): x + 0.3 + 0.1 * seed for name, x in truth.items() for seed in (0, 1)}
    values = {v.metric: v.value for v in fid_family(drawn, truth)}
    rows = torch.cat(list(drawn.values())), torch.cat(list(truth.values()))
    assert values["fid"] == pytest.approx(frechet_distance(*rows), rel=1e-9)
    assert values["fid_lo"] < values["fid"] < values["fid_hi"]
    (nothing,) = fid_family({}, truth)
    assert nothing.metric == "fid" and math.isnan(nothing.value)


def test_frechet_interval_stays_above_zero() -> None:
    truth = per_object(0)
    one = gather({(name, 0): x for name, x in truth.items()}, sorted(truth))
    estimate, low, high = frechet_with_interval(one, one, object_resamples(8, 50, 0))
    assert estimate == pytest.approx(0, abs=1e-9) and low == pytest.approx(0, abs=1e-9) and high < 1e-9


def draws_of(truth: dict[str, Tensor], offset: float) -> SetDraws:
    features = Features(None, views=sampled(truth, offset), truth=truth)  # type: ignore[arg-type]
    return features.measured(0)[1]


def test_two_methods_are_compared_on_the_same_resamples(tmp_path: Path) -> None:
    truth = per_object(0, spread=2.0)
    near, far = draws_of(truth, 1.0), draws_of(truth, 1.15)
    near.save(draws_file(tmp_path / "near.csv"))
    kept = SetDraws.load(tmp_path / "near.resamples.npz")
    assert kept.objects == sorted(truth) and kept.values.keys() == near.values.keys()
    found = joint(kept, far, "kernel_lite0_views")
    a, b = near.last("kernel_lite0_views"), far.last("kernel_lite0_views")
    assert a is not None and b is not None
    assert found.centre == pytest.approx(float(a[0] - b[0]))
    assert found.hi < 0, "nearer on nearly every resample"
    apart = [interval_of(values) for values in (a, b)]
    assert apart[0][2] > apart[1][1], "their own intervals meet"
    assert joint(near, near, "kernel_lite0_views") == (0, 0, 0)


def test_sets_of_other_objects_have_no_joint_interval() -> None:
    one, other = draws_of(per_object(0), 1.0), draws_of(per_object(0, objects=7), 1.0)
    assert math.isnan(joint(one, other, "kernel_lite0_views").centre)
    assert math.isnan(joint(one, one, "kernel_lite0_renders").centre), "there were no renderings"


def test_a_file_that_holds_no_draws_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.resamples.npz").write_text("nothing")
    with pytest.raises(UserError, match=r"x\.resamples\.npz holds no resampled distances"):
        SetDraws.load(tmp_path / "x.resamples.npz")


def test_a_second_encoder_has_metrics_of_its_own() -> None:
    truth = per_object(0)
    second = Features(None, name="lite2", views=sampled(truth, 1.0), truth=truth)  # type: ignore[arg-type]
    values, draws = second.measured(0)
    first = draws_of(truth, 1.0)
    named = [m.name for m in catalogue.CATALOGUE.values() if "_lite2_" in m.name]
    assert {v.metric.removesuffix("_lo").removesuffix("_hi") for v in values} <= set(named)
    assert len(named) == 8
    both = merged([first, draws])
    assert both.last("kernel_lite2_views") is not None and both.last("kernel_lite0_views") is not None
    floors = floor_family({name: torch.cat([x, x + 1]) for name, x in truth.items()}, [0, 2, 4, 6], "lite2")
    assert {v.metric for v in floors} == {"frechet_lite2_floor", "kernel_lite2_floor"}
