"""Predictions made elsewhere: any method becomes a row, measured like our own.

    pred/<method>/<object>/000.png ... cameras.json      generated views (RGBA, or RGB on white)
                           mesh.glb | mesh.obj | mesh.ply, model.ply      the 3D result
                           prediction.json               optional: seconds, network_calls, peak_mb, seed
    pred/<method>/<object>/seed<N>/...                   the same, where there are several seeds

World: the object in the unit sphere at the origin, z up (a GLB is y up, as glTF says), the input view at
azimuth 0. A piece that is missing leaves its metrics out; nothing takes its place.
`docs/evaluating-your-method.md` is the user's page.
"""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import torch
import torch.nn.functional as F
import trimesh
from torch import Tensor

from aligncvc.errors import UserError
from aligncvc.evaluate.lint import require_clean
from aligncvc.evaluate.models import VOXEL, GaussianModel, MeshModel
from aligncvc.evaluate.poses import match_poses, read_cameras
from aligncvc.evaluate.score import Entry, Truth
from aligncvc.evaluate.subject import Model, Subject
from aligncvc.meshes import load_mesh
from aligncvc.scene.cameras import Cameras
from aligncvc.scene.gaussians import load_harmonics, load_ply
from aligncvc.scene.renderset import PosedObject
from aligncvc.scene.views import composite, load_png
from aligncvc.splat import Rendering
from aligncvc.viewer.ply import require_raw

IMAGE_NAME, SEED_NAME = re.compile(r"\d{3,}\.png"), re.compile(r"seed(\d+)")
METHOD_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")
MESH_FILES, GAUSSIAN_FILE = ("mesh.glb", "mesh.obj", "mesh.ply"), "model.ply"
COST = ("seconds", "network_calls", "peak_mb")


@dataclass(frozen=True)
class Prediction:
    """What a folder holds, in the form of a `Subject`'s members; None where there is no such piece.

    views, renders: (1, V, 3, H, W) in [0, 1] on white at the rig, generated and drawn from the model. cost:
    by metric name. notes: what is odd but accepted.
    """

    views: Tensor | None
    renders: Tensor | None
    model: Model | None
    cost: dict[str, float]
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class GaussiansWithMesh:
    """A method that gives both: its Gaussians are drawn, and its own mesh is its surface."""

    gaussians: Model
    surface: Model

    def draw(self, cameras: Cameras, background: float) -> Rendering:
        return self.gaussians.draw(cameras, background)

    def mesh(self) -> trimesh.Trimesh | None:
        return self.surface.mesh()


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
    meshes = [folder / name for name in MESH_FILES if (folder / name).is_file()]
    gaussians = None
    if (folder / GAUSSIAN_FILE).is_file():
        if is_gaussian_ply(folder / GAUSSIAN_FILE):
            require_raw(folder / GAUSSIAN_FILE)
            path = folder / GAUSSIAN_FILE
            gaussians = GaussianModel(load_ply(path), voxel=voxel, harmonics=load_harmonics(path))
        else:
            meshes.append(folder / GAUSSIAN_FILE)
    if len(meshes) > 1:
        raise UserError(f"{folder} holds {' and '.join(m.name for m in meshes)}; leave one mesh")
    surface = MeshModel(load_mesh(meshes[0])) if meshes else None
    if gaussians is not None and surface is not None:
        return GaussiansWithMesh(gaussians, surface)
    return gaussians or surface


def is_gaussian_ply(path: Path) -> bool:
    """3D Gaussians, rather than a mesh: the vertices have opacity and scale, and there are no faces."""
    with path.open("rb") as handle:
        head = handle.read(1 << 16).partition(b"end_header")[0].decode("ascii", "replace")
    words = [line.split() for line in head.splitlines()]
    properties = {w[-1] for w in words if w[:1] == ["property"]}
    has_faces = any(w[:2] == ["element", "face"] and w[2:] != ["0"] for w in words)
    return {"opacity", "scale_0", "rot_0"} <= properties and not has_faces


def method_name(folder: Path, reserved: Collection[str] = ()) -> str:
    """The method is named by its folder. Raises UserError for a name that tables could not bear.

    reserved: names of other rows (the configuration's own methods).
    """
    name = folder.resolve().name
    if not METHOD_NAME.fullmatch(name) or name.startswith("control"):
        raise UserError(
            f"{folder} names a method {name!r}; rename the folder to letters, digits and . _ + - (not "
            "beginning with control, which marks controls)"
        )
    if name in reserved:
        raise UserError(f"{folder} names a method {name!r}, which the configuration has; rename the folder")
    return name


def prediction_entries(pred: Path, truth: Truth, reserved: Collection[str] = ()) -> tuple[str, list[Entry]]:
    """The method's name, and one entry for each object of the protocol and each seed that pred has.

    pred: `pred/<method>`, or `pred/<method>/<object>` for that object alone. An object without a prediction
    is an entry that fails. Raises UserError for a bad method name, an object or a seed that the protocol does
    not ask for, and a folder without any prediction.
    """
    if not pred.is_dir():
        raise UserError(f"{pred} is not a folder; give pred/<method> or pred/<method>/<object>")
    pred = pred.resolve()
    alone = _holds_prediction(pred)
    root, wanted = (pred.parent, [pred.name]) if alone else (pred, truth.ids)
    method = method_name(root, reserved)
    present = [pred] if alone else [p for p in sorted(root.iterdir()) if p.is_dir() and p.name[0] not in "._"]
    strangers = sorted({p.name for p in present} - set(truth.ids))
    if strangers:
        raise UserError(
            f"{root} holds {strangers[0]}, which {truth.set.manifest} does not list; name the folders after "
            f"its objects, such as {truth.ids[0]}"
        )
    folders = _folders(present, truth.protocol.seeds)
    if not folders:
        raise UserError(f"{root} holds no prediction; see docs/evaluating-your-method.md for the layout")
    odd = sorted({seed for _, seed in folders} - set(truth.protocol.seeds))
    if odd:
        raise UserError(
            f"{root} has predictions of seed {odd[0]}, and the protocol {truth.protocol.slug} asks for "
            f"{list(truth.protocol.seeds)}; use its seeds"
        )
    return method, [
        Entry(name, seed, _Loader(root, folders.get((name, seed)), name, seed, truth))
        for name in wanted
        for seed in sorted({seed for _, seed in folders})
    ]


@dataclass(frozen=True)
class _Loader:
    """Builds the subject when it is wanted, so that a broken prediction fails alone."""

    root: Path
    folder: Path | None
    name: str
    seed: int
    truth: Truth

    def __call__(self) -> Subject:
        if self.folder is None:
            raise UserError(f"{self.root} has no prediction of {self.name}, seed {self.seed}")
        posed = self.truth.load(self.name)
        found = load_prediction(
            self.folder,
            posed,
            self.truth.protocol.resize,
            self.truth.protocol.metrics.geometry.voxel,
        )
        for note in found.notes:
            print(f"note: {note}", file=sys.stderr)
        return Subject(
            object=self.name,
            seed=self.seed,
            truth=posed.views,
            rig=posed.rig,
            scored=self.truth.protocol.views.indices(len(posed.views), posed.rig),
            background=self.truth.protocol.background,
            views=found.views,
            renders=found.renders,
            model=found.model,
            surface=self.truth.surface(self.name),
            cost=found.cost,
        )


def _folders(objects: Iterable[Path], seeds: list[int]) -> dict[tuple[str, int], Path]:
    """Folder of each (object, seed): seed<N>/ inside, or the object's own with the seed it states."""
    found = {}
    for path in objects:
        inner = [(p, match) for p in sorted(path.iterdir()) if (match := SEED_NAME.fullmatch(p.name))]
        for sub, match in inner:
            found[path.name, int(match[1])] = sub
        if not inner:
            found[path.name, _stated_seed(path, seeds[0])] = path
    return found


def _stated_seed(folder: Path, default: int) -> int:
    try:
        seed = read_facts(folder)[1]
    except UserError:  # said again when the prediction is loaded, where it fails alone
        seed = None
    return default if seed is None else seed


def _holds_prediction(folder: Path) -> bool:
    """Is this one object's folder, rather than a method's?"""
    names = {*MESH_FILES, GAUSSIAN_FILE, "cameras.json", "prediction.json"}
    return any(
        p.name in names or IMAGE_NAME.fullmatch(p.name) or (p.is_dir() and SEED_NAME.fullmatch(p.name))
        for p in folder.iterdir()
    )
