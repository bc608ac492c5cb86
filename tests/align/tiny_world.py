"""A world small enough for tests: real classes at random weights, 32 px, three rendered objects."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import torch
import yaml
from torch import Tensor

from aligncvc.align.discriminator import Discriminator, generator_loss
from aligncvc.config.jobs.align import AlignJob
from aligncvc.config.jobs.sample import ControlJob, SampleJob
from aligncvc.config.plan import Plan
from aligncvc.config.root import parse_config
from aligncvc.files import PROJECT_ROOT, sha256_file
from aligncvc.models.specs import PairSpec
from aligncvc.scene.cameras import orbit, ring_azimuths_deg
from aligncvc.scene.gaussians import Gaussians
from aligncvc.scene.views import Views, save_views
from aligncvc.splat import rasterise
from aligncvc.streams import torch_stream

RING = 8
PAIR = "tiny"
GENERATOR = {
    "kind": "wonder3d",
    "vae": {"channels": [8, 16, 16], "norm_groups": 4},
    "unet": {"channels": [16, 32], "head_channels": 8, "norm_groups": 8},
}
RECONSTRUCTOR = {
    "kind": "lgm",
    "down_channels": [8, 16, 16],
    "down_attention": [False, False, True],
    "up_channels": [16, 16],
    "up_attention": [True, False],
    "heads": 2,
}
FOIL = {"soft": False, "hard": False, "regression": True}
RUNS = {
    "soft": {"hard": False},
    "hard": {"soft": False},
    "both": {},
    "foil": FOIL,
    "released": {"hard": False, "asd_mode": "official"},
}


def tiny_settings(
    *,
    size_px: int = 32,
    generator: dict[str, Any] | None = None,
    reconstructor: dict[str, Any] | None = None,
    pair: dict[str, Any] | None = None,
    **align: Any,
) -> dict[str, Any]:
    """A configuration as YAML data; keywords go to `align`.

    size_px: of the renders. generator, reconstructor: settings of the networks beside the tiny ones; pair: of
    the pair.
    """
    networks = {
        "generator": {"network": merged(GENERATOR, generator or {})},
        "reconstructor": {"network": merged(RECONSTRUCTOR, reconstructor or {})},
    }
    return {
        "render": {"size_px": size_px, "ring_views": RING},
        "pairs": {PAIR: {**networks, **(pair or {})}},
        "align": {
            "steps": 6, "batch": 2, "save_every": 2, "gan": {"hidden": 8}, "runs": RUNS, **align,
        },
        "sample": {"methods": {"aware": {}}},
    }  # fmt: skip


def merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Both mappings, one level of sections within them too; `over` wins."""
    inner = {k: {**base[k], **v} for k, v in over.items() if isinstance(base.get(k), dict)}
    return {**base, **over, **inner}


def tiny_plan(data: dict[str, Any]) -> Plan:
    """The jobs of a configuration, with the demo's protocol at the configuration's render size and ring."""
    config = parse_config(data, "tiny")
    same = config.render.model_dump(include={"size_px", "ring_views"})
    render = config.protocol.render.model_copy(update=same)
    config.__dict__["protocol"] = config.protocol.model_copy(update={"render": render})  # a cached property
    return Plan(config)


def align_job(run: str = "both", **settings: Any) -> AlignJob:
    """One alignment run of the tiny pair; settings as `tiny_settings` takes them."""
    return tiny_plan(tiny_settings(**settings)).align(PAIR, run)


def sample_job(
    feedback: str = "aligncvc", steps: int = 4, *, seeds: list[int] | None = None, **settings: Any
) -> SampleJob:
    """One method of the tiny pair; guidance and run may be among the settings."""
    method = {"feedback": feedback, "steps": steps}
    method |= {key: settings.pop(key) for key in ("guidance", "run") if key in settings}
    data = tiny_settings(**settings)
    data["sample"] = {"methods": {"m": method}}
    job = tiny_plan(data).sample(PAIR, "m")
    return job.model_copy(update={"seeds": seeds or [0]})


def control_job(control: Literal["gt", "jitter", "shuffled", "copy"], **settings: Any) -> ControlJob:
    """One control beside the tiny pair, judged by the tiny reconstructor with random weights."""
    job = tiny_plan(tiny_settings(**settings)).control(control)
    return job.model_copy(update={"judge": tiny_pair(**settings).reconstructor, "seeds": [0]})


def tiny_pair(**settings: Any) -> PairSpec:
    """The tiny pair; settings as `tiny_settings` takes them."""
    return align_job(**settings).pair


def write_protocol(path: Path, size_px: int = 32, **changes: object) -> str:
    """The demo's protocol at this world's size, with other changes of its top level; returns the path."""
    demo = yaml.safe_load((PROJECT_ROOT / "config/protocols/demo.yaml").read_text())
    render = demo["render"] | {"size_px": size_px, "ring_views": RING}
    path.write_text(yaml.safe_dump({**demo, "render": render, **changes}))
    return str(path)


def write_ledger(path: Path, files: dict[str, Path], **changes: Any) -> str:
    """The project's ledger with these files under their ids, and other keys of their entries; its path."""
    ledger = yaml.safe_load((PROJECT_ROOT / "config/checkpoints.yaml").read_text())
    for name, file in files.items():
        entry = {"what": "of a test", "source": f"file:{file}", "licence": "MIT", "sha256": sha256_file(file)}
        ledger["checkpoints"][name] = entry | changes
    path.write_text(yaml.safe_dump(ledger))
    return str(path)


def blob(name: str, count: int = 60) -> Gaussians:
    """A random coloured cloud inside the unit sphere."""
    random = torch_stream(0, "blob", name)

    def uniform(*shape: int) -> torch.Tensor:
        return torch.rand(shape, generator=random)

    return Gaussians(
        means=uniform(count, 3) * 1.0 - 0.5,
        scales=uniform(count, 3) * 0.1 + 0.05,
        quats=torch.nn.functional.normalize(torch.randn((count, 4), generator=random), dim=-1),
        opacities=uniform(count) * 0.5 + 0.5,
        colors=uniform(count, 3) * uniform(1, 3),
    )


def write_renders(folder: Path, names: tuple[str, ...] = ("a", "b", "c"), size_px: int = 32) -> Path:
    """Render clouds as the render stage lays them out; return the manifest's path."""
    cameras = orbit(ring_azimuths_deg(RING), 10.0, distance=3.0, fov_y_deg=39.6, size_px=size_px)
    rows = ["id\tstatus\tstage\treason\tseconds\tattempts\tjob_hash\tlicence\tcreator"]
    for name in names:
        drawn = rasterise(blob(name), cameras, background=0.0)
        rgb = (drawn.rgb / drawn.alpha.clamp_min(1e-3)).clamp(0, 1)
        views = Views(torch.cat([rgb, drawn.alpha], 1), cameras)
        rigs = {"rig": list(range(0, RING, RING // 4)), "ring": list(range(RING))}
        save_views(folder / name, views, object=name, rigs=rigs)
        (folder / name / "status.json").write_text(json.dumps({"status": "ok"}))
        rows.append(f"{name}\tok\t\t\t0.1\t1\t{name}{size_px}\tCC0-1.0\tnobody")
    rows.append("broken\tfailed\tload\tnot a mesh\t0.1\t3\tx\tCC0-1.0\tnobody")
    manifest = folder / "manifest.tsv"
    manifest.write_text("\n".join(rows) + "\n")
    return manifest


def moved_by(discriminator: Discriminator, fakes: Tensor) -> Tensor:
    """The images (B, V, 3, H, W) after ten steps down the generator's loss."""
    moving = fakes.clone().requires_grad_(True)
    mover = torch.optim.Adam([moving], lr=0.02)
    for _ in range(10):
        loss = generator_loss(discriminator, moving, 0.8, None)
        mover.zero_grad()
        loss.backward()
        mover.step()
    return moving.detach()
