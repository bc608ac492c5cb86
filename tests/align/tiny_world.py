"""A world small enough for tests: real classes at random weights, 32 px, three rendered objects."""

from __future__ import annotations

import json
from pathlib import Path

import torch
import yaml

from aligncvc.config.sections import Config, parse_config
from aligncvc.files import PROJECT_ROOT
from aligncvc.scene.cameras import orbit, ring_azimuths_deg
from aligncvc.scene.gaussians import Gaussians
from aligncvc.scene.views import Views, save_views
from aligncvc.splat import rasterise
from aligncvc.streams import torch_stream

RING = 8


def tiny_settings(**align: object) -> dict[str, object]:
    """A configuration as YAML data; keywords go to the align section."""
    return {
        "render": {"size_px": 32, "ring_views": RING, "rig_views": 4},
        "mvg": {
            "weights": None,
            "vae_weights": None,
            "vae": {"channels": [8, 16, 16], "norm_groups": 4},
            "unet": {"channels": [16, 32], "head_channels": 8, "norm_groups": 8},
        },
        "recon": {
            "weights": None,
            "down_channels": [8, 16, 16],
            "down_attention": [False, False, True],
            "up_channels": [16, 16],
            "up_attention": [True, False],
            "heads": 2,
        },
        "align": {"steps": 6, "batch": 2, "save_every": 2, "gan": {"hidden": 8}, **align},
    }


def tiny_config(**align: object) -> Config:
    return parse_config(tiny_settings(**align), "tiny")


def write_protocol(path: Path, **changes: object) -> str:
    """The demo's protocol at this world's size, with other changes of its top level; returns the path."""
    demo = yaml.safe_load((PROJECT_ROOT / "config/protocols/demo.yaml").read_text())
    render = demo["render"] | {"size_px": 32, "ring_views": RING}
    path.write_text(yaml.safe_dump({**demo, "render": render, **changes}))
    return str(path)


def write_config(path: Path, **align: object) -> Path:
    path.write_text(yaml.safe_dump(tiny_settings(**align)))
    return path


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
