"""How fast the metrics are: one object with 16 views at 256x256, family by family, and four objects.

The truth is a bundled object's mesh; the prediction is wrong enough that no metric meets a special case.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from functools import partial

import torch
import trimesh
from skimage.metrics import structural_similarity

from aligncvc.bench.measure import Clock, Row, medians, row, timed, torch_threads
from aligncvc.bench.synthetic import cameras_at, views_of
from aligncvc.config.jobs.evaluate import EvaluateJob
from aligncvc.evaluate.distribution import Features
from aligncvc.evaluate.epipolar import epipolar_family
from aligncvc.evaluate.families import (
    consistency_family,
    geometry_family,
    image_family,
    image_metrics,
    score_trial,
    views_family,
)
from aligncvc.evaluate.networks import Networks, load_networks
from aligncvc.evaluate.trial import GaussianModel, MeshModel, Trial, Value
from aligncvc.files import PROJECT_ROOT
from aligncvc.meshes import load_mesh
from aligncvc.metrics.perceptual import lpips
from aligncvc.metrics.ssim import ssim
from aligncvc.scene.cameras import ring_azimuths_deg
from aligncvc.scene.gaussians import Gaussians
from aligncvc.streams import torch_stream

RING, RIG, SIZE_PX, THREADS = 16, [0, 4, 8, 12], 256, 2
GAUSSIANS = 16384
GOAL_SECONDS = 10.0
OBJECTS = ("bread", "barrel", "chair", "chicken")
COUNTS = (1, 2, 4)


def bench_trial(name: str = OBJECTS[0], size_px: int = SIZE_PX, gaussians: int = GAUSSIANS) -> Trial:
    """A bundled object with RING views, and a noisy prediction of it with one kept step."""
    mesh = load_mesh(PROJECT_ROOT / f"assets/objects/blendswap-cc-0-{name}.glb")
    mesh.apply_translation(-mesh.bounds.mean(0))
    mesh.apply_scale(0.9 / (mesh.vertices**2).sum(1).max() ** 0.5)
    cameras = cameras_at(ring_azimuths_deg(RING), size_px)
    truth = views_of(MeshModel(mesh).draw(cameras, 0.0), cameras)
    model = GaussianModel(_on_surface(mesh, gaussians))
    clean = truth[RIG].on_white()
    noise = torch.randn(clean.shape, generator=torch_stream(0, "bench", "views", name))
    return Trial(
        object=name,
        seed=0,
        truth=truth,
        rig=RIG,
        scored=list(range(RING)),
        background=1.0,
        views=(clean + 0.02 * noise).clamp(0, 1)[None],
        renders=model.draw(cameras[RIG], 1.0).rgb.clamp(0, 1)[None],
        model=model,
        surface=mesh,
        cost={},
    )


def _on_surface(mesh: trimesh.Trimesh, count: int) -> Gaussians:
    """Grey, opaque Gaussians near a surface, which they close."""
    points, _ = trimesh.sample.sample_surface(mesh, count, seed=0)
    shift = torch.randn(count, 3, generator=torch_stream(0, "bench", "gaussians"))
    return Gaussians(
        means=torch.as_tensor(points, dtype=torch.float32) + 0.003 * shift,
        scales=torch.full((count, 3), 0.012),
        quats=torch.tensor([1.0, 0.0, 0.0, 0.0]).expand(count, 4),
        opacities=torch.full((count,), 0.95),
        colors=torch.full((count, 3), 0.5),
    )


def families(trial: Trial, job: EvaluateJob, networks: Networks) -> dict[str, Callable[[], list[Value]]]:
    """One call a family that computes all its metrics of one trial."""
    settings, lite0 = job.protocol.metrics, networks.lite0
    assert lite0 is not None

    def distribution() -> list[Value]:
        features = Features(lite0, networks.fid)
        features.add(trial, trial.draw_scored())
        return features.values(job.seed)

    def consistency() -> Iterable[Value]:
        metrics = image_metrics(networks, settings)
        return consistency_family(trial, metrics, networks.judge, settings.consistency.halves)

    return {
        "image": lambda: list(image_family(trial, networks, settings, trial.draw_scored())),
        "views": lambda: list(views_family(trial, networks, settings)),
        "consistency": lambda: list(consistency()),
        "epipolar": lambda: list(epipolar_family(trial, settings.consistency.tsed)),
        "geometry": lambda: list(geometry_family(trial, settings.geometry, job.seed)),
        "distribution": distribution,
    }


def without_vgg(job: EvaluateJob) -> EvaluateJob:
    """The same job with LPIPS on its first net alone."""
    metrics = job.protocol.metrics
    lpips = metrics.lpips.model_copy(update={"nets": ["alex"]})
    metrics = metrics.model_copy(update={"lpips": lpips})
    return job.model_copy(update={"protocol": job.protocol.model_copy(update={"metrics": metrics})})


def bench_metrics(job: EvaluateJob, clock: Clock = time.perf_counter, repeats: int = 3) -> list[Row]:
    """Each family, the whole, growth with the number of objects, SSIM and LPIPS beside their references."""
    job = without_vgg(job)
    networks = load_networks(job)
    with torch_threads(THREADS), torch.no_grad():
        trials = [bench_trial(name) for name in OBJECTS]
        runs = families(trials[0], job, networks)
        took = medians({name: timed(run, clock) for name, run in runs.items()}, repeats)
        grown = growth(trials, job, networks, clock)
        compared = images_against_references(trials[0], networks)
        images = medians({name: timed(run, clock) for name, run in compared.items()}, repeats)
    return [
        *(row(f"metrics_{name}_16x256", value, "s/object") for name, value in took.items()),
        row("metrics_all_16x256", sum(took.values()), "s/object", GOAL_SECONDS),
        *(row(f"metrics_{n}_objects_16x256", value, "s", n * grown[1]) for n, value in grown.items()),
        row("ssim_16x256", images["ssim"], "s", images["scikit-image"]),
        row("lpips_alex_16x256", images["lpips"], "s", images["one by one"]),
    ]


def growth(trials: list[Trial], job: EvaluateJob, networks: Networks, clock: Clock) -> dict[int, float]:
    """Seconds for COUNTS objects: every family of each, then the distances of the whole set."""
    assert networks.lite0 is not None

    def score(count: int, features: Features) -> None:
        for trial in trials[:count]:
            drawn = trial.draw_scored()
            list(score_trial(trial, job, networks, drawn))
            features.add(trial, drawn)
        features.values(job.seed)

    sets = {count: Features(networks.lite0, networks.fid) for count in COUNTS}
    return {count: timed(partial(score, count, features), clock)() for count, features in sets.items()}


def images_against_references(trial: Trial, networks: Networks) -> dict[str, Callable[[], object]]:
    """Our batched SSIM and LPIPS beside scikit-image and the genuine LPIPS class, one image at a time."""
    drawn, target, model = trial.draw_scored(), trial.scored_truth, networks.lpips
    assert drawn is not None
    assert model is not None
    images = drawn.rgb
    pairs = list(zip(images.split(1), target.split(1), strict=True))
    arrays = [(a[0].double().numpy(), b[0].double().numpy()) for a, b in pairs]
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    return {
        "ssim": lambda: ssim(images, target),
        "scikit-image": lambda: [
            structural_similarity(a, b, channel_axis=0, data_range=1, **options) for a, b in arrays
        ],
        "lpips": lambda: lpips(model, images, target),
        "one by one": lambda: [model(a * 2 - 1, b * 2 - 1) for a, b in pairs],
    }
