"""Other projects' cameras, to and from this project's (OpenCV axes, camera-to-world, z up).

Formats differ in the camera's axes, the world's axes and the direction (camera-to-world or world-to-camera):
`docs/cameras.md` has the table. Converters are exact up to rounding and keep dtype and device.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from aligncvc.errors import UserError
from aligncvc.scene.cameras import Cameras, depth_range, invert_rigid


def to_opengl(c2w: Tensor) -> Tensor:
    """(..., 4, 4) ours -> OpenGL and Blender camera-to-world: the camera's y and z axes turn round."""
    return c2w * c2w.new_tensor([1, -1, -1, 1])


from_opengl = to_opengl
"""(..., 4, 4) OpenGL or Blender camera-to-world -> ours: the change is its own inverse."""


def to_pytorch3d(c2w: Tensor) -> tuple[Tensor, Tensor]:
    """(..., 4, 4) ours -> PyTorch3D's R (..., 3, 3) and T (..., 3): x_view = x_world R + T, x left, y up."""
    w2c = invert_rigid(c2w)
    flip = c2w.new_tensor([-1, -1, 1])
    return (w2c[..., :3, :3] * flip[:, None]).transpose(-1, -2), w2c[..., :3, 3] * flip


def from_pytorch3d(rotation: Tensor, translation: Tensor) -> Tensor:
    """PyTorch3D's R (..., 3, 3) and T (..., 3) -> ours (..., 4, 4)."""
    flip = rotation.new_tensor([-1, -1, 1])
    top = torch.cat([rotation.transpose(-1, -2) * flip[:, None], (translation * flip)[..., None]], -1)
    return invert_rigid(_with_bottom_row(top))


def _with_bottom_row(top: Tensor) -> Tensor:
    """(..., 3, 4) -> (..., 4, 4) with the row 0 0 0 1."""
    bottom = top.new_tensor([0, 0, 0, 1]).expand(*top.shape[:-2], 1, 4)
    return torch.cat([top, bottom], -2)


def z_up_to_y_up(like: Tensor) -> Tensor:
    """(4, 4): z up to y up. Our right stays right, our up becomes y, and our front (-y) becomes +z."""
    return like.new_tensor([[1, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0], [0, 0, 0, 1]])


def to_lgm(c2w: Tensor) -> Tensor:
    """(..., 4, 4) ours -> LGM's (kiui's) camera-to-world: OpenGL axes, y-up world, azimuth 0 at +z."""
    return z_up_to_y_up(c2w) @ to_opengl(c2w)


def from_lgm(c2w: Tensor) -> Tensor:
    """(..., 4, 4) LGM's camera-to-world -> ours."""
    return from_opengl(z_up_to_y_up(c2w).T @ c2w)


def to_imagedream(c2w: Tensor) -> Tensor:
    """(..., 4, 4) ours -> ImageDream's camera-to-world: OpenGL axes, z up, the input view at +x, then +y."""
    x, y, z, bottom = to_opengl(c2w).unbind(-2)
    return torch.stack([-y, x, z, bottom], -2)


def from_imagedream(c2w: Tensor) -> Tensor:
    """(..., 4, 4) ImageDream's camera-to-world -> ours."""
    x, y, z, bottom = from_opengl(c2w).unbind(-2)
    return torch.stack([y, -x, z, bottom], -2)


def to_wonder3d(c2w: Tensor) -> Tensor:
    """(..., 4, 4) ours -> Wonder3D's pose files: (..., 3, 4) OpenGL world-to-camera, z-up world."""
    return invert_rigid(to_opengl(c2w))[..., :3, :]


def from_wonder3d(w2c: Tensor) -> Tensor:
    """(..., 3, 4) Wonder3D world-to-camera -> ours (..., 4, 4)."""
    return from_opengl(invert_rigid(_with_bottom_row(w2c)))


_COLUMNS = ("x", "y", "z", "origin")


def to_gobjaverse(cameras: Cameras) -> list[dict[str, Any]]:
    """V cameras (V, 4, 4) -> one mapping a view, as in GObjaverse's JSON files (OpenCV axes, radians)."""
    x_fov, y_fov = 2 * math.atan(0.5 * cameras.width / cameras.focal_px), math.radians(cameras.fov_y_deg)
    columns = cameras.c2w[:, :3, :].double().permute(0, 2, 1).tolist()
    return [{**dict(zip(_COLUMNS, view, strict=True)), "x_fov": x_fov, "y_fov": y_fov} for view in columns]


def _fov_y(view: Mapping[str, Any], width: int, height: int) -> float:
    """Vertical field of view in radians, from y_fov or, with square pixels, from x_fov."""
    if "y_fov" in view:
        return float(view["y_fov"])
    return 2 * math.atan(math.tan(0.5 * float(view["x_fov"])) * height / width)


def from_gobjaverse(views: Sequence[Mapping[str, Any]], width: int, height: int) -> Cameras:
    """GObjaverse JSON contents, with x_fov, y_fov or both -> cameras (V, 4, 4), float32.

    Raises UserError if a key is missing or the views do not share one field of view.
    """
    try:
        columns = [[view[name] for name in _COLUMNS] for view in views]
        top = torch.tensor(columns, dtype=torch.float64).reshape(-1, 4, 3).permute(0, 2, 1)
        fovs = [_fov_y(view, width, height) for view in views]
    except (KeyError, ValueError, TypeError, RuntimeError) as error:
        raise UserError(
            f"a GObjaverse camera lacks or spoils a key ({error!r}); each needs x, y, z, origin and "
            "a field of view, as in the dataset's JSON files"
        ) from error
    if not fovs or max(fovs) - min(fovs) > 1e-4:
        raise UserError(
            f"{len(fovs)} GObjaverse cameras with fields of view from {min(fovs, default=0):g} to "
            f"{max(fovs, default=0):g} rad were given; convert views of one field of view at a time"
        )
    planes = depth_range(float(top[:, :, 3].norm(dim=-1).mean()))
    return Cameras(_with_bottom_row(top).float(), math.degrees(fovs[0]), width, height, *planes)
