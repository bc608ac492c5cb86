"""One prediction made elsewhere, read from its folder: images, cameras, mesh or Gaussians, and what it cost.

    000.png ... cameras.json      generated views (RGBA, or RGB on white)
    mesh.glb | mesh.obj | mesh.ply, model.ply      the 3D result
    prediction.json               optional: seconds, network_calls, peak_mb, seed

World: the object in the unit sphere at the origin, z up (a GLB is y up, as glTF says), the input view at
azimuth 0. A piece that is missing leaves its metrics out; nothing takes its place.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, field
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from aligncvc.errors import UserError
from aligncvc.evaluate.lint import require_clean
from aligncvc.evaluate.poses import match_poses, read_cameras
from aligncvc.evaluate.shapes import VOXEL, GaussianModel, MeshModel, Model
from aligncvc.meshes import load_mesh
from aligncvc.scene.gaussians import load_harmonics, load_ply, require_raw
from aligncvc.scene.renderset import PosedObject
from aligncvc.scene.views import composite, load_png

IMAGE_NAME = re.compile(r"\d{3,}\.png")
MESH_FILES, GAUSSIAN_FILE = ("mesh.glb", "mesh.obj", "mesh.ply"), "model.ply"
COST = ("seconds", "network_calls", "peak_mb")


@dataclass(frozen=True)
class Prediction:
    """What a folder holds, in the form of a `Trial`'s members; None where there is no such piece.

    views, renders: (1, V, 3, H, W) in [0, 1] on white at the rig, generated and drawn from the model. cost:
    by metric name. notes: what is odd but accepted.
    """

    views: Tensor | None
    renders: Tensor | None
    model: Model | None
    cost: dict[str, float]
    notes: list[str] = field(default_factory=list)


def load_prediction(
    folder: Path, posed: PosedObject, resize: str = "none", voxel: float = VOXEL
) -> Prediction:
    """Read one prediction.

    posed: the object's ground truth, its cameras in the input view's frame. resize: the protocol's filter for
    images of another size (none, bilinear, bicubic, area). voxel: its cells for surfaces of Gaussians. Raises
    UserError naming what is wrong or missing.
    """
    cost, _ = read_facts(folder)
    views, notes = _load_views(folder, posed, resize)
    model = _load_model(folder, voxel)
    if views is None and model is None:
        raise UserError(
            f"{folder} holds neither images (000.png, ...) nor a model ({', '.join(MESH_FILES)}, "
            f"{GAUSSIAN_FILE}); put the prediction there"
        )
    renders = None
    if model is not None:
        drawn = model.draw(posed.views.cameras[posed.rig], 1.0).rgb
        renders = ((drawn.clamp(0, 1) * 255).round() / 255)[None]  # 8-bit, as kept steps are
    return Prediction(views, renders, model, cost, notes)


def read_facts(folder: Path) -> tuple[dict[str, float], int | None]:
    """Cost by metric name and the seed of prediction.json; nothing if there is none."""
    path = folder / "prediction.json"
    if not path.is_file():
        return {}, None
    known = {*COST, "seed", "about"}
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        cost = {name: float(data[name]) for name in COST if name in data}
        seed = int(data["seed"]) if "seed" in data else None
        unknown = sorted(set(data) - known)
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"{path} is not readable ({error!r}); write a mapping of {sorted(known)}") from error
    if unknown:
        raise UserError(f"{path} has unknown keys {unknown}; it may hold {sorted(known)}")
    if not all(math.isfinite(value) and value >= 0 for value in cost.values()):
        raise UserError(f"{path} has a cost that is negative or not finite ({cost}); correct or leave it out")
    return cost, seed


def _load_views(folder: Path, posed: PosedObject, resize: str) -> tuple[Tensor | None, list[str]]:
    """The images at the rig's poses, (1, V, 3, H, W) on white, and warnings; None without images."""
    paths = sorted(path for path in folder.iterdir() if IMAGE_NAME.fullmatch(path.name))
    if not paths:
        return None, []
    gaps = [f"{i:03d}.png" for i in range(len(paths)) if paths[i].name != f"{i:03d}.png"]
    if gaps:
        raise UserError(f"{folder} lacks {gaps[0]}; number the images from 000.png without gaps")
    if not (folder / "cameras.json").is_file():
        raise UserError(f"{folder} has images but no cameras.json; say at which poses they were made")
    cameras = read_cameras(folder / "cameras.json")
    images = [load_png(path) for path in paths]
    shapes = {tuple(image.shape) for image in images}
    if len(shapes) > 1:
        raise UserError(
            f"{folder} holds images of several shapes (channels, height, width: {sorted(shapes)}); "
            "write all in one size, all with alpha or all without"
        )
    rgba = torch.stack(images)
    notes = require_clean(rgba, cameras, where=str(folder), predicted=True)
    chosen = match_poses(cameras, posed.views.cameras[posed.rig], str(folder))
    if len(images) > len(chosen):
        notes.append(f"{folder}: {len(images) - len(chosen)} of {len(images)} images stand at other poses")
    on_white = composite(rgba[chosen], 1.0) if rgba.shape[1] == 4 else rgba[chosen]
    return _resized(on_white, posed.views.rgba.shape[-2:], resize, folder)[None], notes


def _resized(images: Tensor, size: torch.Size, resize: str, folder: Path) -> Tensor:
    """(V, 3, H, W) on their background -> the protocol's size, if its filter allows."""
    (height, width), (found_height, found_width) = size, images.shape[-2:]
    if (found_height, found_width) == (height, width):
        return images
    problem = f"{folder} holds images of {found_width}x{found_height} where the protocol has {width}x{height}"
    if resize == "none":
        raise UserError(
            f"{problem} and no resizing; write them at that size, or use a protocol with a resize filter"
        )
    if found_height * width != found_width * height:
        raise UserError(f"{problem}, another aspect ratio; write them at that ratio")
    antialias = resize != "area"
    return F.interpolate(images, (height, width), mode=resize, antialias=antialias).clamp(0, 1)


def _load_model(folder: Path, voxel: float) -> Model | None:
    """The 3D result. Gaussians with a mesh beside them are drawn, and the mesh is their surface."""
    meshes = [folder / name for name in MESH_FILES if (folder / name).is_file()]
    ply = folder / GAUSSIAN_FILE
    splats = ply.is_file() and is_gaussian_ply(ply)
    if ply.is_file() and not splats:
        meshes.append(ply)
    if len(meshes) > 1:
        raise UserError(f"{folder} holds {' and '.join(m.name for m in meshes)}; leave one mesh")
    if splats:
        require_raw(ply)
        return GaussianModel(load_ply(ply), voxel, next(iter(meshes), None), load_harmonics(ply))
    return MeshModel(load_mesh(meshes[0])) if meshes else None


def is_gaussian_ply(path: Path) -> bool:
    """3D Gaussians, rather than a mesh: the vertices have opacity and scale, and there are no faces."""
    with path.open("rb") as handle:
        head = handle.read(1 << 16).partition(b"end_header")[0].decode("ascii", "replace")
    words = [line.split() for line in head.splitlines()]
    properties = {w[-1] for w in words if w[:1] == ["property"]}
    has_faces = any(w[:2] == ["element", "face"] and w[2:] != ["0"] for w in words)
    return {"opacity", "scale_0", "rot_0"} <= properties and not has_faces
