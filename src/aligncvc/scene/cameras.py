"""The one camera convention, its rigs and its rays.

World: right-handed, z up, the object centred at the origin inside the unit sphere; azimuth 0 is the input
view. Camera: OpenCV (x right, y down, z forward), camera-to-world. Azimuth grows counter-clockwise seen from
above; positive elevation looks down. A field of view is vertical unless its name says otherwise; pixels are
square, the principal point is the centre. `docs/cameras.md` has the drawings, `camera_formats` other formats.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from aligncvc.errors import UserError
from aligncvc.files import read_text, write_json

CONVENTION = "opencv-c2w-zup"


@dataclass(frozen=True)
class Cameras:
    """Pinhole cameras that share one intrinsics.

    c2w: (..., V, 4, 4) camera-to-world, OpenCV axes. fov_y_deg: vertical field of view in degrees.
    """

    c2w: Tensor
    fov_y_deg: float
    width: int
    height: int
    near: float = 0.5
    far: float = 10.0

    @property
    def focal_px(self) -> float:
        """Focal length in pixels, of x and y alike."""
        return 0.5 * self.height / math.tan(math.radians(self.fov_y_deg) / 2)

    @property
    def intrinsics(self) -> Tensor:
        """(3, 3) pixel intrinsics; pixel centres lie at half-integers."""
        f = self.focal_px
        return self.c2w.new_tensor([[f, 0.0, self.width / 2], [0.0, f, self.height / 2], [0.0, 0.0, 1.0]])

    @property
    def w2c(self) -> Tensor:
        """(..., V, 4, 4) world-to-camera."""
        return invert_rigid(self.c2w)

    @property
    def positions(self) -> Tensor:
        """(..., V, 3) camera centres in the world."""
        return self.c2w[..., :3, 3]

    def __len__(self) -> int:
        return self.c2w.shape[-3]

    def __getitem__(self, index: int | slice | Sequence[int]) -> Cameras:
        """Select along the view axis; an integer keeps that axis (length 1)."""
        if isinstance(index, int):
            index = [index]
        return replace(self, c2w=self.c2w[..., index, :, :])

    def resized(self, width: int, height: int) -> Cameras:
        """The same cameras at another resolution (the field of view is kept)."""
        return replace(self, width=width, height=height)

    def to(self, device: torch.device | str) -> Cameras:
        return replace(self, c2w=self.c2w.to(device))

    def rays(self) -> tuple[Tensor, Tensor]:
        """Origins and unit directions through pixel centres, each (..., V, 3, H, W), in the world."""
        c2w = self.c2w
        ys = torch.arange(self.height, dtype=c2w.dtype, device=c2w.device) + 0.5 - self.height / 2
        xs = torch.arange(self.width, dtype=c2w.dtype, device=c2w.device) + 0.5 - self.width / 2
        y, x = torch.meshgrid(ys / self.focal_px, xs / self.focal_px, indexing="ij")
        right, down, forward = (c2w[..., :3, i, None, None] for i in range(3))
        # elementwise rather than a matmul: autocast must not round geometry
        directions = x * right + y * down + forward
        directions = directions / directions.norm(dim=-3, keepdim=True)
        origins = c2w[..., :3, 3, None, None].expand_as(directions)
        return origins, directions

    def plucker(self) -> Tensor:
        """Plucker coordinates (o x d, d) of the pixel rays, (..., V, 6, H, W)."""
        origins, directions = self.rays()
        return torch.cat([torch.cross(origins, directions, dim=-3), directions], -3)


def depth_range(distance: float) -> tuple[float, float]:
    """Near and far planes with the object between them."""
    return max(0.05, distance - 1.5), distance + 1.5


def invert_rigid(matrix: Tensor) -> Tensor:
    """(..., 4, 4) rotation and translation -> its inverse, without a general matrix inversion."""
    rotation = matrix[..., :3, :3].transpose(-1, -2)
    top = torch.cat([rotation, -(rotation @ matrix[..., :3, 3:])], -1)
    return torch.cat([top, matrix[..., 3:, :]], -2)


def look_at_origin(position: Tensor) -> Tensor:
    """(..., 3) camera centres -> (..., 4, 4) c2w looking at the origin with z up; UserError on the z axis."""
    forward = -position / position.norm(dim=-1, keepdim=True)
    up = torch.zeros_like(position)
    up[..., 2] = 1.0
    right = torch.cross(forward, up, dim=-1)
    length = right.norm(dim=-1, keepdim=True)
    if bool((length < 1e-6).any()):
        raise UserError(
            "a camera straight above or below the object has no upright; use |elevation| < 90 degrees"
        )
    right = right / length
    down = torch.cross(forward, right, dim=-1)
    c2w = torch.zeros(*position.shape[:-1], 4, 4, dtype=position.dtype, device=position.device)
    c2w[..., :3, 0], c2w[..., :3, 1], c2w[..., :3, 2], c2w[..., :3, 3] = right, down, forward, position
    c2w[..., 3, 3] = 1.0
    return c2w


def orbit(
    azimuths_deg: Sequence[float],
    elevations_deg: float | Sequence[float],
    *,
    distance: float,
    fov_y_deg: float,
    size_px: int,
) -> Cameras:
    """V cameras on a sphere round the origin that look at it; azimuth 0 is on -y and grows towards +x."""
    azimuth = torch.tensor(list(azimuths_deg), dtype=torch.float64).deg2rad()
    if not isinstance(elevations_deg, Sequence):
        elevations_deg = [elevations_deg] * len(azimuth)
    elevation = torch.tensor(list(elevations_deg), dtype=torch.float64).deg2rad()
    position = distance * torch.stack(
        [elevation.cos() * azimuth.sin(), -elevation.cos() * azimuth.cos(), elevation.sin()], -1
    )
    return Cameras(look_at_origin(position).float(), fov_y_deg, size_px, size_px, *depth_range(distance))


def ring_azimuths_deg(count: int, start_deg: float = 0.0) -> list[float]:
    """`count` evenly spaced azimuths in degrees from `start_deg`, each in [0, 360)."""
    return [(start_deg + 360.0 * i / count) % 360.0 for i in range(count)]


def relative_c2w(c2w: Tensor, reference: Tensor) -> Tensor:
    """Turn the world of c2w (..., V, 4, 4) about z so that `reference` (..., 4, 4) comes to azimuth 0."""
    azimuth = torch.atan2(reference[..., 0, 3], -reference[..., 1, 3])
    turn = torch.eye(4, dtype=c2w.dtype, device=c2w.device).repeat(*azimuth.shape, 1, 1)
    turn[..., 0, 0] = turn[..., 1, 1] = azimuth.cos()
    turn[..., 0, 1], turn[..., 1, 0] = azimuth.sin(), -azimuth.sin()
    return turn.unsqueeze(-3) @ c2w


def spherical_deg(cameras: Cameras) -> tuple[Tensor, Tensor, Tensor]:
    """(azimuth in [0, 360), elevation, distance) of the camera centres, each (..., V); degrees."""
    position = cameras.positions
    distance = position.norm(dim=-1)
    azimuth = torch.atan2(position[..., 0], -position[..., 1]).rad2deg() % 360.0
    elevation = torch.asin((position[..., 2] / distance).clamp(-1, 1)).rad2deg()
    return azimuth, elevation, distance


def save_cameras(path: Path | str, cameras: Cameras, **facts: object) -> None:
    """Write cameras.json: convention, c2w (row-major), field of view, size, and free facts."""
    own = {"version": 1, "convention": CONVENTION, **vars(cameras), "c2w": cameras.c2w.double().tolist()}
    write_json(path, own | facts)


def load_cameras(path: Path | str) -> Cameras:
    """Read cameras.json. Raises UserError if it is not in this project's convention."""
    try:
        text = read_text(path)
    except (ValueError, OSError) as error:
        raise _unreadable(path, error) from error
    return parse_cameras(text, path)


def parse_cameras(text: str, where: Path | str) -> Cameras:
    """The text of cameras.json as cameras. Raises UserError, naming `where`, for another convention."""
    try:
        data = json.loads(text)
        if data["convention"] != CONVENTION:
            raise UserError(
                f"{where} holds cameras of convention {data['convention']!r}; convert them to "
                f"{CONVENTION!r} with aligncvc.scene.camera_formats"
            )
        c2w = torch.tensor(data["c2w"], dtype=torch.float32)
        return Cameras(c2w, data["fov_y_deg"], data["width"], data["height"], data["near"], data["far"])
    except (KeyError, ValueError) as error:
        raise _unreadable(where, error) from error


def _unreadable(where: Path | str, error: Exception) -> UserError:
    return UserError(f"{where} is not a readable cameras.json ({error!r}); render the object again")
