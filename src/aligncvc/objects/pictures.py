"""Objects that come as posed pictures: a few published views of each, and its mesh for measuring shape.

Layout: `<folder>/<number>.jpg` (or another picture), numbered as the protocol's cameras are, and `mesh.npz`
with v (N, 3) and f (M, 3), z up. In the workflow (`source: pictures`) the objects stage checks the hashes of
a list and writes `<id>.pictures.json` in the place of a GLB. The render stage cuts the pictures out of their
white background and shows them as the generators' views are shown.
"""

from __future__ import annotations

import math
import zipfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import trimesh
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from aligncvc.config.objects import ObjectSet
from aligncvc.config.protocols import Rendering
from aligncvc.errors import UserError
from aligncvc.files import sha256_file, sha256_json
from aligncvc.limits import require_small_zip
from aligncvc.objects.indexes import write_index
from aligncvc.objects.listing import ObjectRow
from aligncvc.objects.sources import Context, Job, listed, root_of
from aligncvc.scene.cameras import Cameras, depth_range, look_at_origin
from aligncvc.scene.formats import PICTURES
from aligncvc.scene.framing import resampling
from aligncvc.scene.picture_cameras import Pictures
from aligncvc.scene.rigs import fov_covering, half_width
from aligncvc.scene.views import Views, load_png

SUFFIX = ".pictures.json"
"""Of the file that stands for an object of this kind, as a GLB does for a mesh."""
MESH = "mesh.npz"
NEAR_WHITE = 15.5 / 255
"""A pixel may be background if no channel is more than 15 of 255 levels from white, as in `coherence`."""
HOLE_WHITE, HOLE_PX = 2 / 255, 16
"""Enclosed white is a hole that one sees through, if its darkest channels are so near to white on average and
it has so many pixels; else it is a white part of the object."""


def picture_files(folder: Path) -> list[Path]:
    """An object's pictures by their numbers from 0. Raises UserError if there are none, or one is missing."""
    found = [p for p in folder.glob("*") if p.stem.isdigit() and p.suffix.lower() in PICTURES]
    paths = sorted(found, key=lambda path: int(path.stem))
    if not paths:
        raise UserError(f"{folder} has no pictures named by number (0.jpg, 1.jpg, ...); put them there")
    if [int(path.stem) for path in paths] != list(range(len(paths))):
        names = ", ".join(path.name for path in paths)
        raise UserError(f"{folder} has the pictures {names}; number them from 0, one file a number")
    return paths


def files_read(folder: Path) -> list[Path]:
    """All that is read of an object: its pictures and, if it has one, its mesh."""
    mesh = folder / MESH
    return [*picture_files(folder), *([mesh] if mesh.is_file() else [])]


def pictures_hash(folder: Path) -> str:
    """Hash of all that is read of an object: the sha256 of every file, by name."""
    return sha256_json({path.name: sha256_file(path) for path in files_read(folder)})


def _write(row: ObjectRow, root: Path, path: Path) -> None:
    folder = root / row.path
    write_index(row, folder, files_read(folder), pictures_hash, path)


def picture_jobs(objects: ObjectSet, context: Context) -> list[Job]:
    """Jobs of a set with source pictures; its `path` holds what the list's column `path` names."""
    root = root_of(objects, "a folder that holds what the list's column path names").resolve()
    return [Job(row, partial(_write, row, root), suffix=SUFFIX) for row in listed(objects, what="pictures")]


def load_scan(folder: Path) -> trimesh.Trimesh | None:
    """An object's mesh as it was published, z up; None if it has none. Raises UserError for an odd file."""
    path = folder / MESH
    if not path.is_file():
        return None
    try:
        require_small_zip(path)
        with np.load(path, allow_pickle=False) as arrays:
            vertices, faces = np.asarray(arrays["v"], float), np.asarray(arrays["f"], np.int64)
        whole = vertices.shape[1:] == (3,) and faces.shape[1:] == (3,) and len(faces) > 0
        if not whole or not np.isfinite(vertices).all() or faces.min() < 0 or faces.max() >= len(vertices):
            raise ValueError(f"v is {vertices.shape} and f is {faces.shape}")
    except (OSError, KeyError, ValueError, EOFError, TypeError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} is no mesh of v (N, 3) and f (M, 3) ({error}); fetch it again") from error
    return trimesh.Trimesh(vertices, faces, process=False)


def normalisation(mesh: trimesh.Trimesh) -> dict[str, Any]:
    """scale, offset of new = scale * old + offset: box centred, half of its diagonal becomes 1.

    Raises UserError for a mesh without size.
    """
    used = np.asarray(mesh.vertices)[np.unique(mesh.faces)]
    low, high = used.min(0), used.max(0)
    if not (diagonal := float(np.linalg.norm(high - low))) > 0:
        raise UserError("all vertices of the mesh coincide, the object has no size; fetch it again")
    scale = 2 / diagonal
    return {"scale": scale, "offset": (-scale * (low + high) / 2).tolist()}


def picture_cameras(pictures: Pictures, rendering: Rendering) -> Cameras:
    """The pictures' cameras (V, 4, 4), the input's first, at the field of view that shows it as large as a
    render: what is covered above the axis at the object's centre is the same."""
    places = torch.tensor([pictures.positions[i] for i in pictures.order], dtype=torch.float64)
    distances = places.norm(dim=-1)
    half = half_width(rendering.distance, rendering.fov_y_deg)
    fov_y_deg, side = fov_covering(half, float(distances[0])), rendering.size_px
    near, far = depth_range(float(distances.min()))[0], depth_range(float(distances.max()))[1]
    return Cameras(look_at_origin(places).float(), fov_y_deg, side, side, near, far)


def read_pictures(folder: Path, rendering: Rendering) -> Views:
    """One object's pictures as posed views, the input first. Raises UserError for odd files.

    rendering: whose `pictures` are not None.
    """
    pictures = rendering.pictures
    assert pictures is not None
    paths = picture_files(folder)
    if len(paths) != len(pictures.positions):
        raise UserError(
            f"{folder} has {len(paths)} pictures and the protocol {len(pictures.positions)} cameras "
            "(render.pictures.positions); give a camera for each"
        )
    cameras = picture_cameras(pictures, rendering)
    ratio = 2 * pictures.focal_px * math.tan(math.radians(cameras.fov_y_deg) / 2) / rendering.size_px
    return Views(torch.stack([_shown(paths[i], pictures, cameras, ratio) for i in pictures.order]), cameras)


def _shown(path: Path, pictures: Pictures, cameras: Cameras, ratio: float) -> Tensor:
    """(4, S, S) of one picture, cut out: pixels `ratio` times as wide, transparent beyond its edges."""
    picture = load_png(path)[:3]
    height, width = picture.shape[-2:]
    if (width, height) != (pictures.width, pictures.height):
        raise UserError(
            f"{path} has {width}x{height} pixels and the protocol's camera "
            f"{pictures.width}x{pictures.height}; give the picture as it was published"
        )
    alpha = torch.from_numpy(foreground(picture.numpy())).double()
    rows, columns = (resampling(side, ratio, cameras.height) for side in (height, width))
    colour = rows @ (picture.double() * alpha) @ columns.T
    covered = rows @ alpha @ columns.T
    return torch.cat([colour / covered.clamp_min(1e-4), covered[None]]).clamp(0, 1).float()


def foreground(picture: NDArray[np.float32]) -> NDArray[np.bool_]:
    """(3, H, W) in [0, 1] on white -> (H, W): where the object is.

    Background is what is nearly white and connected with the picture's edges, and what is wholly white inside
    the object, a hole. So white parts within an outline belong to it, and a white outline is lost.
    """
    darkest = picture.min(0)
    near, count = ndimage.label(darkest >= 1 - NEAR_WHITE)
    regions = np.arange(1, count + 1)
    outside = np.unique(np.concatenate([near[0], near[-1], near[:, 0], near[:, -1]]))
    areas = ndimage.sum(near > 0, near, regions)
    white = ndimage.mean(darkest, near, regions) >= 1 - HOLE_WHITE
    holes = regions[white & (areas >= HOLE_PX)] if count else regions
    background: NDArray[np.bool_] = np.isin(near, np.union1d(outside[outside > 0], holes))
    return ~background
