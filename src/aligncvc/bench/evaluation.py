"""How fast the metrics are: one object with 16 views at 256x256, family by family, and four objects.

A bundled object is the truth, drawn from its own mesh; the prediction is made of Gaussians at its surface,
wrong enough that no metric meets a special case. Two threads, medians of warm repeats, as `make bench` runs.
"""

from __future__ import annotations

import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from skimage.metrics import structural_similarity
from torch import Tensor

from aligncvc.config.protocols import Protocol
from aligncvc.config.sections import Config
from aligncvc.evaluate.collect import Features
from aligncvc.evaluate.consistency import consistency_family
from aligncvc.evaluate.epipolar import epipolar_family
from aligncvc.evaluate.geometry import geometry_family
from aligncvc.evaluate.image_scores import draw_scored, image_family, views_family
from aligncvc.evaluate.models import GaussianModel, MeshModel
from aligncvc.evaluate.subject import Subject
from aligncvc.evaluate.tools import Tools, load_tools
from aligncvc.files import PROJECT_ROOT
from aligncvc.meshes import load_mesh
from aligncvc.metrics.image import lpips_metric, ssim
from aligncvc.scene.cameras import Cameras, orbit, ring_azimuths_deg
from aligncvc.scene.gaussians import Gaussians
from aligncvc.scene.views import Views
from aligncvc.streams import torch_stream

Row = tuple[str, float, str, float | None]
"""Name, value, unit, and what it is compared with."""
RING, RIG, SIZE_PX, THREADS = 16, [0, 4, 8, 12], 256, 2
GAUSSIANS = 16384
GOAL_SECONDS, DEMO_GOAL_SECONDS = 10.0, 120.0
OBJECTS = ("bread", "barrel", "chair", "chicken")


def bench_subject(name: str = OBJECTS[0], size_px: int = SIZE_PX, gaussians: int = GAUSSIANS) -> Subject:
    """A bundled object with RING views, and a noisy prediction of it with one kept step."""
    mesh = load_mesh(PROJECT_ROOT / f"assets/objects/blendswap-cc-0-{name}.glb")
    mesh.apply_translation(-mesh.bounds.mean(0))
    mesh.apply_scale(0.9 / (mesh.vertices**2).sum(1).max() ** 0.5)
    cameras = orbit(ring_azimuths_deg(RING), 10.0, distance=3.0, fov_y_deg=39.6, size_px=size_px)
    drawn = MeshModel(mesh).draw(cameras, 0.0)
    rgb = (drawn.rgb / drawn.alpha.clamp_min(1e-4)).clamp(0, 1)
    truth = Views(torch.cat([rgb, drawn.alpha], 1), cameras, drawn.depth[:, 0])
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
    cameras: Cameras = truth.cameras
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


def seconds(run: Callable[[], object], repeats: int) -> float:
    """Median of warm repeats."""
    run()
    found = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        found.append(time.perf_counter() - start)
    return statistics.median(found)


def bench_metrics(config: Config, repeats: int = 3) -> list[Row]:
    """(name, value, unit, reference) of each family, of the whole, of growth, of SSIM and LPIPS."""
    threads = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    try:
        with torch.no_grad():
            return _bench(load_tools(config, without_vgg(config.protocol)), repeats)
    finally:
        torch.set_num_threads(threads)


def _bench(tools: Tools, repeats: int) -> list[Row]:
    subjects = [bench_subject(name) for name in OBJECTS]
    took = {name: seconds(run, repeats) for name, run in families(subjects[0], tools).items()}
    rows: list[Row] = [(f"metrics_{name}_16x256", value, "s/object", None) for name, value in took.items()]
    rows.append(("metrics_all_16x256", sum(took.values()), "s/object", GOAL_SECONDS))
    grown = growth(subjects, tools)
    rows += [(f"metrics_{n}_objects_16x256", value, "s", n * grown[1]) for n, value in grown.items()]
    return [*rows, *_references(subjects[0], tools, repeats)]


def growth(subjects: list[Subject], tools: Tools, counts: tuple[int, ...] = (1, 2, 4)) -> dict[int, float]:
    """Seconds for so many objects: every family of each, then the distances of the whole set."""
    found = {}
    for count in counts:
        start = time.perf_counter()
        features = Features(tools.encoder, tools.fid)
        for subject in subjects[:count]:
            for name, run in families(subject, tools).items():
                if name != "distribution":
                    run()
            features.add(subject, draw_scored(subject))
        features.values(tools.seed)
        found[count] = time.perf_counter() - start
    return found


def _references(subject: Subject, tools: Tools, repeats: int) -> list[Row]:
    """Our batched SSIM and LPIPS beside scikit-image and the genuine LPIPS class, one image at a time."""
    images, target = draw_scored(subject), subject.scored_truth
    model = tools.image.lpips
    assert model is not None

    def one_by_one() -> list[Tensor]:
        pairs = zip(images.split(1), target.split(1), strict=True)
        return [model(a * 2 - 1, b * 2 - 1) for a, b in pairs]

    def scikit() -> list[float]:
        pairs = zip(images.double().numpy(), target.double().numpy(), strict=True)
        options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
        return [structural_similarity(a, b, channel_axis=0, data_range=1, **options) for a, b in pairs]

    return [
        ("ssim_16x256", seconds(lambda: ssim(images, target), repeats), "s", seconds(scikit, repeats)),
        (
            "lpips_alex_16x256",
            seconds(lambda: lpips_metric(model)(images, target), repeats),
            "s",
            seconds(one_by_one, repeats),
        ),
    ]


def demo_evaluation(results: Path) -> list[Row]:
    """Evaluation of a finished run, if there is one: seconds of its jobs (Snakemake's) over the cores.

    Each job has one thread, so that as many run at a time as there are cores.
    """
    files = sorted((results / "benchmarks/evaluate").glob("*.jsonl"))
    if not files:
        return []
    total = sum(json.loads(path.read_text().splitlines()[-1])["s"] for path in files)
    return [("demo_evaluation", total / (os.cpu_count() or 1), "s", DEMO_GOAL_SECONDS)]
