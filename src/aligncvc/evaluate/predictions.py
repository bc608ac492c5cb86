"""Predictions made elsewhere: any method becomes a row, measured like our own.

    pred/<method>/<object>[/seed<N>]/              one prediction; the seed where there are several
        000.png ...                                generated views (RGBA, or RGB on white)
        cameras.json                               their poses; or once for all objects, in pred/<method>
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

from aligncvc.config.jobs.evaluate import ELSEWHERE, Up
from aligncvc.errors import UserError
from aligncvc.evaluate.ground_truth import GroundTruth
from aligncvc.evaluate.lint import require_clean
from aligncvc.evaluate.poses import match_poses, read_cameras
from aligncvc.evaluate.prediction_files import (
    CAMERAS,
    FACTS,
    MODELS,
    SEED_NAME,
    cameras_file,
    find_files,
    holds_files,
    holds_prediction,
)
from aligncvc.evaluate.samples import COST
from aligncvc.evaluate.score import Method
from aligncvc.evaluate.trial import VOXEL, GaussianModel, MeshModel, Model, Trial
from aligncvc.files import read_text, sha256_file, visible_files
from aligncvc.meshes import load_mesh
from aligncvc.meshes.files import Y_UP_TO_Z_UP
from aligncvc.scene.gaussians import load_harmonics, load_ply, require_raw
from aligncvc.scene.renderset import PosedObject
from aligncvc.scene.views import composite, load_png

METHOD_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")


def method_name(folder: Path, reserved: Collection[str] = (), name: str | None = None) -> str:
    """The method is named by its folder, unless by name. UserError if reserved or unfit for tables."""
    name = name or folder.resolve().name
    if not METHOD_NAME.fullmatch(name) or name.startswith("control"):
        raise UserError(
            f"{folder} names a method {name!r}; rename the folder to letters, digits and . _ + - (not "
            "beginning with control, which marks controls), or give --name"
        )
    if name in reserved:
        raise UserError(
            f"{folder} names a method {name!r}, which the configuration has; rename the folder, or give "
            "--name"
        )
    return name


def predicted_method(
    pred: Path,
    truth: GroundTruth,
    reserved: Collection[str] = (),
    *,
    name: str | None = None,
    up: Up = "z",
) -> Method:
    """Each object of the protocol with each seed that pred has; those without prediction fail.

    pred: `pred/<method>`, or `pred/<method>/<object>` for that object alone. reserved: names that the
    configuration's own methods have. name: of the method, instead of the folder's. up: as of
    `load_prediction`. Raises UserError for a folder that is not one of this protocol.
    """
    if not pred.is_dir():
        raise UserError(f"{pred} is not a folder; give pred/<method> or pred/<method>/<object>")
    pred, protocol = pred.resolve(), truth.protocol
    alone = holds_prediction(pred) and not any((pred / each).is_dir() for each in truth.set.ids)
    root, wanted = (pred.parent, [pred.name]) if alone else (pred, truth.set.ids)
    method = method_name(root, reserved, name)
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
    trials = {key: partial(_read_trial, root, folders.get(key), truth, up, *key) for key in keys}
    files = {str(path.relative_to(pred)): sha256_file(path) for path in visible_files(pred)}
    return Method(ELSEWHERE, method, trials, files)


def _read_trial(root: Path, folder: Path | None, truth: GroundTruth, up: Up, name: str, seed: int) -> Trial:
    if folder is None:
        raise UserError(f"{root} has no prediction of {name}, seed {seed}")
    posed, protocol = truth.load(name), truth.protocol
    made = load_prediction(folder, posed, protocol.resize, protocol.metrics.geometry.voxel, up)
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
        if inner and holds_files(path):
            raise UserError(
                f"{path} holds {inner[0][0].name} and files of a prediction beside it; move these into "
                "their seed"
            )
        if not inner:
            stated = None
            with suppress(UserError):  # said again when the prediction is loaded, where it fails alone
                stated = read_facts(path)[1]
            found[path.name, seeds[0] if stated is None else stated] = path
    return found


@dataclass(frozen=True)
class Prediction:
    """What a folder holds, in the form of a `Trial`'s members; notes: what is odd but accepted."""

    views: Tensor | None
    renders: Tensor | None
    model: Model | None
    cost: dict[str, float]
    notes: list[str] = field(default_factory=list)


def load_prediction(
    folder: Path, posed: PosedObject, resize: str = "none", voxel: float = VOXEL, up: Up = "z"
) -> Prediction:
    """Read one prediction. Raises UserError naming what is wrong or missing.

    posed: the object's ground truth, its cameras in the input view's frame. resize: the protocol's filter for
    images of another size (none, bilinear, bicubic, area). voxel: its cells for surfaces of Gaussians. up:
    the axis that points up in OBJ and PLY files; with y their front is at +z, as in a GLB.
    """
    cost, _ = read_facts(folder)
    files = find_files(folder)
    views, notes = _load_views(folder, files.images, posed, resize)
    model = _load_model(folder, files.models, voxel, up)
    if views is None and model is None:
        raise UserError(
            f"{folder} holds neither images (000.png, ...) nor a model ({', '.join(MODELS)}); put the "
            "prediction there"
        )
    renders = None
    if model is not None:
        drawn = model.draw(posed.rig_cameras, 1.0).rgb
        renders = ((drawn.clamp(0, 1) * 255).round() / 255)[None]  # 8-bit, as kept steps are
    return Prediction(views, renders, model, cost, [*files.notes, *notes])


def read_facts(folder: Path) -> tuple[dict[str, float], int | None]:
    """Cost by metric name and the seed of prediction.json; nothing if there is none."""
    path = folder / FACTS
    if not path.is_file():
        return {}, None
    known = {*COST, "seed", "about"}
    try:
        data = json.loads(read_text(path))
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


def _load_views(
    folder: Path, paths: list[Path], posed: PosedObject, resize: str
) -> tuple[Tensor | None, list[str]]:
    """The images at the rig's poses, (1, V, 3, H, W) on white, and warnings; None without images."""
    if not paths:
        return None, []
    if (poses := cameras_file(folder)) is None:
        raise UserError(f"{folder} has images but no {CAMERAS}; say at which poses they were made")
    cameras = read_cameras(poses)
    images = [load_png(path) for path in paths]
    shapes = {tuple(image.shape) for image in images}
    if len(shapes) > 1:
        raise UserError(
            f"{folder} holds images of several shapes (channels, height, width: {sorted(shapes)}); "
            "write all in one size, all with alpha or all without"
        )
    rgba = torch.stack(images)
    notes = require_clean(rgba, cameras, where=str(folder), predicted=True)
    chosen = match_poses(cameras, posed.rig_cameras, str(folder))
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


def _load_model(folder: Path, models: list[Path], voxel: float, up: Up) -> Model | None:
    """The 3D result. Gaussians with a mesh beside them are drawn, and the mesh is their surface."""
    splats = [path for path in models if path.suffix.lower() == ".ply" and is_gaussian_ply(path)]
    meshes = [path for path in models if path not in splats]
    for found, what in ((meshes, "mesh"), (splats, "set of Gaussians")):
        if len(found) > 1:
            raise UserError(f"{folder} holds {' and '.join(path.name for path in found)}; leave one {what}")
    if not splats:
        return MeshModel(load_mesh(meshes[0], up=up)) if meshes else None
    require_raw(splats[0])
    gaussians, harmonics = load_ply(splats[0]), load_harmonics(splats[0])
    if up == "y":
        if harmonics is not None:
            raise UserError(
                f"{splats[0]} has spherical harmonics, which are not turned from y up; write it with z up"
            )
        turn = torch.from_numpy(Y_UP_TO_Z_UP[:3, :3]).float()
        gaussians = gaussians.moved(turn, torch.ones(()), torch.zeros(3))
    return GaussianModel(gaussians, voxel, next(iter(meshes), None), harmonics, up)


def is_gaussian_ply(path: Path) -> bool:
    """3D Gaussians, rather than a mesh: the vertices have opacity and scale, and there are no faces."""
    with path.open("rb") as handle:
        head = handle.read(1 << 16).partition(b"end_header")[0].decode("ascii", "replace")
    words = [line.split() for line in head.splitlines()]
    properties = {w[-1] for w in words if w[:1] == ["property"]}
    has_faces = any(w[:2] == ["element", "face"] and w[2:] != ["0"] for w in words)
    return {"opacity", "scale_0", "rot_0"} <= properties and not has_faces
