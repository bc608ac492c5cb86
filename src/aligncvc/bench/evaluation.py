"""How fast the metrics are: one object with 16 views at 256x256, family by family, and four objects.

A bundled object is the truth, drawn from its own mesh; the prediction is made of Gaussians at its surface,
wrong enough that no metric meets a special case. Two threads.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from skimage.metrics import structural_similarity
from torch import Tensor

from aligncvc.bench.measure import Clock, Row, medians, row, timed, torch_threads
from aligncvc.bench.synthetic import cameras_at, views_of
from aligncvc.config.protocols import Protocol
from aligncvc.evaluate.collect import Features
from aligncvc.evaluate.consistency import consistency_family
from aligncvc.evaluate.epipolar import epipolar_family
from aligncvc.evaluate.geometry import geometry_family
from aligncvc.evaluate.image_scores import draw_scored, image_family, views_family
from aligncvc.evaluate.models import GaussianModel, MeshModel
from aligncvc.evaluate.score import score_subject
from aligncvc.evaluate.subject import Subject
from aligncvc.evaluate.tools import Tools
from aligncvc.files import PROJECT_ROOT
from aligncvc.meshes import load_mesh
from aligncvc.metrics.image import lpips_metric, ssim
from aligncvc.scene.cameras import ring_azimuths_deg
from aligncvc.scene.gaussians import Gaussians
from aligncvc.scene.views import Views
from aligncvc.streams import torch_stream

RING, RIG, SIZE_PX, THREADS = 16, [0, 4, 8, 12], 256, 2
GAUSSIANS = 16384
GOAL_SECONDS = 10.0
OBJECTS = ("bread", "barrel", "chair", "chicken")


def bench_subject(name: str = OBJECTS[0], size_px: int = SIZE_PX, gaussians: int = GAUSSIANS) -> Subject:
    """A bundled object with RING views, and a noisy prediction of it with one kept step."""
    mesh = load_mesh(PROJECT_ROOT / f"assets/objects/blendswap-cc-0-{name}.glb")
    mesh.apply_translation(-mesh.bounds.mean(0))
    mesh.apply_scale(0.9 / (mesh.vertices**2).sum(1).max() ** 0.5)
    cameras = cameras_at(ring_azimuths_deg(RING), size_px)
    truth = views_of(MeshModel(mesh).draw(cameras, 0.0), cameras)
    model = GaussianModel(_on_surface(truth, gaussians, name))
    clean = truth[RIG].on_white()
    noise = torch.randn(clean.shape, generator=torch_stream(0, "bench", "views", name))
    return Subject(
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


def _on_surface(truth: Views, count: int, name: str) -> Gaussians:
    """Opaque Gaussians at pixels of the true views, about as large as they must be to close the surface."""
    cameras = truth.cameras
    assert truth.depth is not None
    origins, directions = cameras.rays()
    along = truth.depth[:, None] / (directions * cameras.c2w[:, :3, 2, None, None]).sum(1, keepdim=True)
    solid = (truth.alpha[:, 0] > 0.99).flatten()
    points = (origins + along * directions).permute(0, 2, 3, 1).reshape(-1, 3)[solid]
    colours = truth.rgba[:, :3].permute(0, 2, 3, 1).reshape(-1, 3)[solid]
    stream = torch_stream(0, "bench", "gaussians", name)
    chosen = torch.randint(len(points), (count,), generator=stream)
    means = points[chosen] + 0.003 * torch.randn(count, 3, generator=stream)
    return Gaussians(
        means=means,
        scales=torch.full((count, 3), 0.012),
        quats=torch.tensor([1.0, 0.0, 0.0, 0.0]).expand(count, 4),
        opacities=torch.full((count,), 0.95),
        colors=colours[chosen],
    )


def families(subject: Subject, tools: Tools) -> dict[str, Callable[[], object]]:
    """One call a family that computes all its metrics of one subject."""

    def distribution() -> object:
        features = Features(tools.encoder, tools.fid)
        features.add(subject, draw_scored(subject))
        return features.values(tools.seed)

    return {
        "image": lambda: list(image_family(subject, tools.image)),
        "views": lambda: list(views_family(subject, tools.image)),
        "consistency": lambda: list(consistency_family(subject, tools.consistency)),
        "epipolar": lambda: list(epipolar_family(subject, tools.epipolar)),
        "geometry": lambda: list(geometry_family(subject, tools.geometry)),
        "distribution": distribution,
    }


def without_vgg(protocol: Protocol) -> Protocol:
    """The same protocol with LPIPS on its first net alone."""
    lpips = protocol.metrics.lpips.model_copy(update={"nets": ["alex"]})
    return protocol.model_copy(update={"metrics": protocol.metrics.model_copy(update={"lpips": lpips})})


def bench_metrics(tools: Tools, clock: Clock = time.perf_counter, repeats: int = 3) -> list[Row]:
    """Each family, the whole, growth with the number of objects, SSIM and LPIPS beside their references."""
    with torch_threads(THREADS), torch.no_grad():
        subjects = [bench_subject(name) for name in OBJECTS]
        runs = families(subjects[0], tools)
        took = medians({name: timed(run, clock) for name, run in runs.items()}, repeats)
        grown = growth(subjects, tools, clock)
        compared = images_against_references(subjects[0], tools)
        images = medians({name: timed(run, clock) for name, run in compared.items()}, repeats)
    return [
        *(row(f"metrics_{name}_16x256", value, "s/object") for name, value in took.items()),
        row("metrics_all_16x256", sum(took.values()), "s/object", GOAL_SECONDS),
        *(row(f"metrics_{n}_objects_16x256", value, "s", n * grown[1]) for n, value in grown.items()),
        row("ssim_16x256", images["ssim"], "s", images["scikit-image"]),
        row("lpips_alex_16x256", images["lpips"], "s", images["one by one"]),
    ]


def growth(
    subjects: list[Subject], tools: Tools, clock: Clock, counts: tuple[int, ...] = (1, 2, 4)
) -> dict[int, float]:
    """Seconds for so many objects: every family of each, then the distances of the whole set."""

    def score(count: int) -> None:
        features = Features(tools.encoder, tools.fid)
        for subject in subjects[:count]:
            drawn = draw_scored(subject)
            list(score_subject(subject, tools, drawn))
            features.add(subject, drawn)
        features.values(tools.seed)

    return {count: timed(lambda count=count: score(count), clock)() for count in counts}


def images_against_references(subject: Subject, tools: Tools) -> dict[str, Callable[[], object]]:
    """Our batched SSIM and LPIPS beside scikit-image and the genuine LPIPS class, one image at a time."""
    images, target = draw_scored(subject), subject.scored_truth
    model = tools.image.lpips
    assert model is not None
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}

    def scikit() -> list[float]:
        pairs = zip(images.double().numpy(), target.double().numpy(), strict=True)
        return [structural_similarity(a, b, channel_axis=0, data_range=1, **options) for a, b in pairs]

    def one_by_one() -> list[Tensor]:
        pairs = zip(images.split(1), target.split(1), strict=True)
        return [model(a * 2 - 1, b * 2 - 1) for a, b in pairs]

    return {
        "ssim": lambda: ssim(images, target),
        "scikit-image": scikit,
        "lpips": lambda: lpips_metric(model)(images, target),
        "one by one": one_by_one,
    }
