"""GObjaverse's rendered frames (github modelscope/richdreamer, dataset/gobjaverse): read, written, hashed.

Layout, below a root: `<dictionary>/<instance>/campos_512_v4/NNNNN/NNNNN{.json,.png,_nd.exr}` beside other
files. The JSON is the camera (`camera_formats`), the PNG straight RGBA. The EXR has the normal in red, green
and blue and the depth in alpha: distance along the camera's z axis, 0 where there is nothing. Its normals
are in Unity's axes: red, green, blue = -x, z, -y of the z-up world that the cameras are in. The object fits a
cube of side 1 around the origin.
"""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from aligncvc.errors import UserError
from aligncvc.files import atomic_path, sha256_file, sha256_json, write_json
from aligncvc.scene.camera_formats import from_gobjaverse, to_gobjaverse
from aligncvc.scene.cameras import Cameras, depth_range, spherical_deg
from aligncvc.scene.formats import FRAMES
from aligncvc.scene.views import Views, load_png, save_png

SUFFIXES = (".json", ".png", "_nd.exr")
"""The files of a frame that are read and hashed."""
SUFFIX = ".frames.json"
"""Of the file that stands for an object of this kind, as a GLB does for a mesh."""
TO_UNIT_SPHERE = 2 / 3**0.5
"""From a cube of side 1, whose corners lie 0.866 from its centre, to the unit sphere of our world."""


def instances(root: Path) -> list[str]:
    """`<dictionary>/<instance>` of every object below a root, sorted. UserError if there is none."""
    found = sorted(str(path.parent.relative_to(root)) for path in root.glob(f"*/*/{FRAMES}"))
    if not found:
        layout = f"<dictionary>/<instance>/{FRAMES}"
        raise UserError(f"{root} has no GObjaverse objects (folders {layout}); give the dataset's root")
    return found


def frames(folder: Path) -> list[int]:
    """Numbers of an instance's frames, ascending. UserError if there is none or a frame lacks a file."""
    numbers = sorted(int(p.name) for p in (folder / FRAMES).glob("[0-9]" * 5) if p.is_dir())
    if not numbers:
        raise UserError(f"{folder} has no frames below {FRAMES}; download the object again")
    missing = [p.name for n in numbers for p in frame_files(folder, n) if not p.is_file()]
    if missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise UserError(f"{folder} lacks {', '.join(missing[:3])}{more}; download the object again")
    return numbers


def frame_files(folder: Path, frame: int) -> list[Path]:
    """The files of a frame that are read: camera, image, normals and depth."""
    name = f"{frame:05d}"
    return [folder / FRAMES / name / f"{name}{suffix}" for suffix in SUFFIXES]


def frames_hash(folder: Path) -> str:
    """Hash of all that is read of an instance: the sha256 of every frame's files, by name."""
    return sha256_json({p.name: sha256_file(p) for n in frames(folder) for p in frame_files(folder, n)})


def _camera(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is not a readable camera ({error}); download the object again") from error


def ring(cameras: Cameras, count: int) -> list[int]:
    """Indices of `count` evenly spaced views of one elevation, by azimuth, the lowest-numbered view first."""
    azimuth, elevation, _ = (values.numpy().astype(np.float64) for values in spherical_deg(cameras))
    steps = 360 * np.arange(count) / count
    for first in range(len(cameras)):
        level = np.abs(elevation - elevation[first]) < 1.0
        away = np.abs((azimuth - (azimuth[first] + steps)[:, None] + 180) % 360 - 180)
        near = level & (away < 90 / count)
        chosen = near.argmax(1).tolist()
        if near.any(1).all() and len(set(chosen)) == count:
            return chosen
    raise UserError(
        f"none of the {len(cameras)} views starts a ring of {count} evenly spaced views at one elevation; "
        "set render.ring_views to what the dataset has (24 in GObjaverse)"
    )


def read_views(folder: Path, ring_views: int, size_px: int) -> Views:
    """One object's ring as posed views in our world, with depth and normals; UserError for odd files.

    The world is scaled so that the cube of side 1 fits the unit sphere. Frames larger than size_px are
    reduced by a whole number: colours under their alpha, depth and normals over the pixels that have them.
    """
    numbers = frames(folder)
    height, side = load_png(frame_files(folder, numbers[0])[1]).shape[-2:]
    if height != side or side % size_px:
        raise UserError(
            f"{folder} has frames of {side} x {height} pixels, which do not reduce to render.size_px "
            f"{size_px} by a whole number; set it to a divisor of {side}"
        )
    cameras = from_gobjaverse([_camera(frame_files(folder, n)[0]) for n in numbers], side, side)
    chosen = ring(cameras, ring_views)
    parts = [_read_frame(folder, numbers[i], side, side // size_px) for i in chosen]
    c2w = cameras.c2w[chosen].clone()
    c2w[:, :3, 3] *= TO_UNIT_SPHERE
    planes = depth_range(float(c2w[:, :3, 3].norm(dim=-1).mean()))
    posed = Cameras(c2w, cameras.fov_y_deg, size_px, size_px, *planes)
    rgba, depth, normals = (torch.stack(part) for part in zip(*parts, strict=True))
    return Views(rgba, posed, depth * TO_UNIT_SPHERE, normals)


def _read_frame(folder: Path, frame: int, side: int, factor: int) -> tuple[Tensor, Tensor, Tensor]:
    """(4, H, W) RGBA, (H, W) depth and (3, H, W) z-up normals of one frame, reduced by `factor`."""
    _, image_path, exr_path = frame_files(folder, frame)
    image, (unity, depth) = load_png(image_path), read_exr(exr_path)
    for path, shape in ((image_path, image.shape[-2:]), (exr_path, depth.shape)):
        if (found := tuple(shape)) != (side, side):
            raise UserError(f"{path} is {found}, other frames {side} x {side}; download the object again")
    seen = (depth > 0) & torch.isfinite(depth)
    if image.shape[0] == 3:  # without alpha the depth is the only mask
        image = torch.cat([image, seen[None].float()])
    red, green, blue = torch.nan_to_num(unity, posinf=0, neginf=0)  # zero where there is nothing
    normals = torch.stack([-red, -blue, green])
    weight = _mean(seen.float()[None], factor)
    colours, alpha = _mean(image[:3] * image[3:], factor), _mean(image[3:], factor)
    depth = _mean(torch.where(seen, depth, 0.0)[None], factor) / weight.clamp_min(1e-6)
    rgba = torch.cat([colours / alpha.clamp_min(1e-6), alpha]).clamp(0, 1)
    return rgba, depth[0], F.normalize(_mean(normals, factor), dim=0)


def _mean(values: Tensor, factor: int) -> Tensor:
    """(C, H, W) -> (C, H / factor, W / factor) means of blocks."""
    return F.avg_pool2d(values[None], factor)[0]


def _cv2() -> Any:
    """OpenCV with its EXR codec, which it keeps off unless this variable is set before its first use."""
    os.environ["OPENCV_IO_ENABLE_OPENEXR"] = "1"
    import cv2

    return cv2


def read_exr(path: Path) -> tuple[Tensor, Tensor]:
    """(3, H, W) red, green, blue and (H, W) alpha of a four-channel EXR. UserError for any other file."""
    cv2 = _cv2()
    try:
        pixels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        pixels = None
    if pixels is None or pixels.ndim != 3 or pixels.shape[2] != 4 or pixels.dtype != np.float32:
        raise UserError(f"{path} is not a readable EXR of four float channels; download the object again")
    blue, green, red, alpha = torch.from_numpy(pixels).permute(2, 0, 1)
    return torch.stack([red, green, blue]), alpha


def write_views(folder: Path, views: Views) -> None:
    """Write views as an instance in GObjaverse's layout. UserError if they lack depth or normals."""
    if views.depth is None or views.normals is None:
        raise UserError(
            "views without depth and normals cannot become GObjaverse frames; render them with both"
        )
    cv2 = _cv2()
    c2w = views.cameras.c2w.clone()
    c2w[:, :3, 3] /= TO_UNIT_SPHERE
    for frame, camera in enumerate(to_gobjaverse(replace(views.cameras, c2w=c2w))):
        json_path, image_path, exr_path = frame_files(folder, frame)
        json_path.parent.mkdir(parents=True, exist_ok=True)
        save_png(image_path, views.rgba[frame])
        x, y, z = views.normals[frame]
        depth = views.depth[frame] / TO_UNIT_SPHERE
        # OpenCV's order: blue, green, red, alpha
        pixels = torch.stack([-y, z, -x, depth], -1).contiguous().numpy()
        with atomic_path(exr_path) as temporary:
            half = [cv2.IMWRITE_EXR_TYPE, cv2.IMWRITE_EXR_TYPE_HALF]
            cv2.imwrite(str(temporary), pixels.astype(np.float32), half)
        write_json(json_path, camera)
