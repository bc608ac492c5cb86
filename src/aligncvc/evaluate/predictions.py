"""Predictions made elsewhere: any method becomes a row, measured like our own.

    pred/<method>/<object>[/seed<N>]/              one prediction; the seed where there are several
        000.png ... cameras.json                   generated views (RGBA, or RGB on white)
        mesh.glb | mesh.obj | mesh.ply, model.ply  the 3D result
        prediction.json                            optional: (cpu_)seconds, network_calls, peak_mb, seed

A piece that is missing leaves its metrics out; nothing takes its place. `docs/evaluating-your-method.md` is
the user's page.
"""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from aligncvc.errors import UserError
from aligncvc.evaluate.ground_truth import GroundTruth
from aligncvc.evaluate.lint import require_clean
from aligncvc.evaluate.poses import match_poses, read_cameras
from aligncvc.evaluate.samples import COST
from aligncvc.evaluate.score import Method
from aligncvc.evaluate.trial import VOXEL, GaussianModel, MeshModel, Model, Trial
from aligncvc.files import sha256_file
from aligncvc.meshes import load_mesh
from aligncvc.scene.gaussians import load_harmonics, load_ply, require_raw
from aligncvc.scene.renderset import PosedObject
from aligncvc.scene.views import composite, load_png

ELSEWHERE = "elsewhere"
"""The pair of predictions that this project's models did not make."""
SEED_NAME, IMAGE_NAME = re.compile(r"seed(\d+)"), re.compile(r"\d{3,}\.png")
METHOD_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")
MESH_FILES, GAUSSIAN_FILE = ("mesh.glb", "mesh.obj", "mesh.ply"), "model.ply"


def method_name(folder: Path, reserved: Collection[str] = ()) -> str:
    """The method is named by its folder. Raises UserError for a reserved name and one not fit for tables."""
    name = folder.resolve().name
    if not METHOD_NAME.fullmatch(name) or name.startswith("control"):
        raise UserError(
            f"{folder} names a method {name!r}; rename the folder to letters, digits and . _ + - (not "
            "beginning with control, which marks controls)"
        )
    if name in reserved:
        raise UserError(f"{folder} names a method {name!r}, which the configuration has; rename the folder")
    return name


def predicted_method(pred: Path, truth: GroundTruth, reserved: Collection[str] = ()) -> Method:
    """Each object of the protocol with each seed that pred has; those without prediction fail.

    pred: `pred/<method>`, or `pred/<method>/<object>` for that object alone. reserved: names that the
    configuration's own methods have. Raises UserError for a folder that is not one of this protocol.
    """
    if not pred.is_dir():
        raise UserError(f"{pred} is not a folder; give pred/<method> or pred/<method>/<object>")
    pred, protocol = pred.resolve(), truth.protocol
    alone = _holds_prediction(pred)
    root, wanted = (pred.parent, [pred.name]) if alone else (pred, truth.set.ids)
    method = method_name(root, reserved)
    present = [pred] if alone else [p for p in sorted(root.iterdir()) if p.is_dir() and p.name[0] not in "._"]
    strangers = sorted({p.name for p in present} - set(truth.set.ids))
    if strangers:
        raise UserError(
            f"{root} holds {strangers[0]}, which {truth.set.manifest} does not list; name the folders after "
            f"its objects, such as {truth.set.ids[0]}"
        )
    folders = _folders(present, protocol.seeds)
    if not folders:
        raise UserError(f"{root} holds no prediction; see docs/evaluating-your-method.md for the layout")
    seeds = sorted({seed for _, seed in folders})
    if odd := sorted(set(seeds) - set(protocol.seeds)):
        raise UserError(
            f"{root} has predictions of seed {odd[0]}, and the protocol {protocol.slug} asks for "
            f"{list(protocol.seeds)}; use its seeds"
        )
    keys = [(name, seed) for name in wanted for seed in seeds]
    trials = {key: partial(_read_trial, root, folders.get(key), truth, *key) for key in keys}
    files = sorted(path for path in pred.rglob("*") if path.is_file())
    return Method(ELSEWHERE, method, trials, {str(p.relative_to(pred)): sha256_file(p) for p in files})


def _read_trial(root: Path, folder: Path | None, truth: GroundTruth, name: str, seed: int) -> Trial:
    if folder is None:
        raise UserError(f"{root} has no prediction of {name}, seed {seed}")
    posed, protocol = truth.load(name), truth.protocol
    made = load_prediction(folder, posed, protocol.resize, protocol.metrics.geometry.voxel)
    for note in made.notes:
        print(f"note: {note}", file=sys.stderr)
    return truth.trial(posed, seed, made.views, made.renders, made.model, made.cost)


def _folders(objects: Iterable[Path], seeds: list[int]) -> dict[tuple[str, int], Path]:
    """Folder of each (object, seed): seed<N>/ inside, or the object's own with the seed it states."""
    found = {}
    for path in objects:
        inner = [(p, match) for p in sorted(path.iterdir()) if (match := SEED_NAME.fullmatch(p.name))]
        for sub, match in inner:
            found[path.name, int(match[1])] = sub
        if not inner:
            stated = None
            with suppress(UserError):  # said again when the prediction is loaded, where it fails alone
                stated = read_facts(path)[1]
            found[path.name, seeds[0] if stated is None else stated] = path
    return found


def _holds_prediction(folder: Path) -> bool:
    """Is this one object's folder, rather than a method's?"""
    names = {*MESH_FILES, GAUSSIAN_FILE, "cameras.json", "prediction.json"}
    return any(
        p.name in names or IMAGE_NAME.fullmatch(p.name) or (p.is_dir() and SEED_NAME.fullmatch(p.name))
        for p in folder.iterdir()
    )


@dataclass(frozen=True)
class Prediction:
    """What a folder holds, in the form of a `Trial`'s members; notes: what is odd but accepted."""

    views: Tensor | None
    renders: Tensor | None
    model: Model | None
    cost: dict[str, float]
    notes: list[str] = field(default_factory=list)


def load_prediction(
    folder: Path, posed: PosedObject, resize: str = "none", voxel: float = VOXEL
) -> Prediction:
    """Read one prediction. Raises UserError naming what is wrong or missing.

    posed: the object's ground truth, its cameras in the input view's frame. resize: the protocol's filter for
    images of another size (none, bilinear, bicubic, area). voxel: its cells for surfaces of Gaussians.
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
    return F.interpolate(images, size, mode=resize, antialias=resize != "area").clamp(0, 1)


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
