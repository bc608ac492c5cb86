"""What `python -m aligncvc.sample` wrote: the manifest, the kept steps, the cost, the model."""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from aligncvc.errors import UserError
from aligncvc.limits import require_small_zip
from aligncvc.scene.framing import at_field_of_view
from aligncvc.scene.gaussians import Gaussians, load_ply, require_raw
from aligncvc.scene.renderset import PosedObject
from aligncvc.scene.rigs import Rig, fov_covering
from aligncvc.scene.views import Views
from aligncvc.splat import rasterise

COST = ("network_calls", "seconds", "cpu_seconds", "peak_mb")


@dataclass(frozen=True)
class SampleManifest:
    """Folders by (object, seed), and the reasons of those that failed; rig, if not the renders'."""

    folder: Path
    pair: str
    method: str
    entries: dict[tuple[str, int], str]
    failed: dict[str, str]
    rig: Rig | None = None

    def path(self, name: str, seed: int) -> Path:
        """Folder of one sample. Raises UserError with the reason if there is none."""
        if (name, seed) not in self.entries:
            raise UserError(self.failed.get(name, f"{self.folder} has no sample of {name}, seed {seed}"))
        return self.folder / self.entries[name, seed]


def read_manifest(folder: Path) -> SampleManifest:
    """Read `<folder>/manifest.json`. Raises UserError if it is missing or odd."""
    path = folder / "manifest.json"
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        entries = {(str(e["object"]), int(e["seed"])): str(e["path"]) for e in data["entries"]}
        failed = {str(e["object"]): str(e["reason"]) for e in data.get("failed", [])}
        rig = Rig.model_validate(data["rig"]) if data.get("rig") else None
        return SampleManifest(folder, str(data["pair"]), str(data["method"]), entries, failed, rig)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path} is not a readable sample manifest ({' '.join(repr(error).split())}); run python -m "
            "aligncvc.sample first"
        ) from error


def read_steps(path: Path, posed: PosedObject, rig: Rig | None = None) -> tuple[Tensor, Tensor]:
    """Generated views and renderings of the kept steps, each (K, V, 3, H, W) in [0, 1]; sizes may differ.

    rig: of the samples; if its cameras were others than the truth's, objects come back to the truth's size.
    """
    try:
        require_small_zip(path)
        with np.load(path, allow_pickle=False) as arrays:
            views, renders = arrays["views"], arrays["renders"]
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} is not a readable steps.npz ({error}); sample the object again") from error
    count, size = len(posed.rig_cameras), tuple(posed.views.rgba.shape[-2:])
    for name, array, wanted in (("views", views, views.shape[2:4]), ("renders", renders, size)):
        shape = (*renders.shape[:1], count, *wanted, 3)
        if array.dtype != np.uint8 or array.ndim != 5 or not array.size or array.shape != shape:
            sides = "height, width" if array is views else "{}, {}".format(*size)
            raise UserError(
                f"{path} holds {name} {array.dtype}{array.shape}, expected uint8 (K, {count}, {sides}, 3) "
                "with the K of the renders; sample with the configuration of the renders"
            )
    views, renders = (torch.from_numpy(a).permute(0, 1, 4, 2, 3).float() / 255 for a in (views, renders))
    if rig is None or rig.half_width is None:
        return views, renders
    cameras = posed.rig_cameras
    drawn = replace(cameras, fov_y_deg=fov_covering(rig.half_width, float(cameras.positions[0].norm())))
    views, renders = (at_field_of_view(x, drawn, cameras.fov_y_deg)[0] for x in (views, renders))
    return views, renders


def read_cost(path: Path) -> dict[str, float]:
    """network_calls, seconds, cpu_seconds, peak_mb, and seconds_<part> for each part that was timed."""
    try:
        facts: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        # what was sampled before CPU seconds were measured can still be scored
        found = {name: facts[name] for name in COST if name in facts or name != "cpu_seconds"}
        found |= {f"seconds_{part}": number for part, number in facts.get("seconds_by_part", {}).items()}
        return {name: float(number) for name, number in found.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        message = f"{path} is not a readable sample.json ({error!r}); sample the object again"
        raise UserError(message) from error


def read_gaussians(path: Path) -> Gaussians:
    """model.ply. Raises UserError if it is missing or cannot be drawn."""
    if not path.is_file():
        raise UserError(f"{path} is missing; sample the object again")
    require_raw(path)
    return load_ply(path)


def in_input_frame(posed: PosedObject) -> Views:
    """The ring with the world turned so that the input view stands at azimuth 0, where models live."""
    return replace(posed.views, cameras=posed.ring_from(0, range(len(posed.views)))[1])


@torch.no_grad()
def render_model(path: Path, posed: PosedObject, views: list[int], background: float) -> Tensor:
    """model.ply at the given ring views, (V, 3, H, W) in [0, 1]."""
    cameras = in_input_frame(posed).cameras
    return rasterise(read_gaussians(path), cameras[views], background=background).rgb.clamp(0, 1)
