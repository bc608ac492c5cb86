"""SV3D's frames: the order of views, the vector that each is told, and guidance's weight of each.

A video turns once round the object and ends at the input view: 21 frames have azimuths 17.1, 34.3, ..., 342.9
and 0. Our first view is the input's, so frame k is view k + 1 and the last frame is view 0. Elevations are
those of the cameras themselves (facts of github Stability-AI/generative-models, simple_video_sample.py).
"""

from __future__ import annotations

import torch
from torch import Tensor

from aligncvc.errors import UserError
from aligncvc.models.generators.svd import sinusoid
from aligncvc.scene.cameras import Cameras, spherical_deg

NOISE_DIM, ANGLE_DIM = 256, 512
"""Lengths of the embeddings of the noise level, and of each of the two angles."""

NEAR_DEG = 0.01
"""How close to the input view's azimuth is the same azimuth."""

EVEN_DEG = 1.0
"""How far from even spacing a view may stand where the network is told nothing of cameras."""


def frame_order(views: int, turn: str) -> list[int]:
    """The view that each frame shows."""
    others = list(range(1, views))
    return [*(others if turn == "counter-clockwise" else reversed(others)), 0]


def orbit_angles(cameras: Tensor, turn: str, even: bool = False) -> tuple[Tensor, Tensor]:
    """(B, V, 4, 4) c2w -> (polar, azimuth) in radians, each (B, V), as SV3D is told them.

    polar: from the z axis; azimuth: in [0, 2 pi), 0 for the input view. UserError unless the views are one
    turn that starts at the input view; even: and evenly spaced, on one level.
    """
    azimuth, elevation, _ = spherical_deg(Cameras(cameras, fov_y_deg=1.0, width=1, height=1))
    azimuth = azimuth if turn == "counter-clockwise" else -azimuth
    azimuth = ((azimuth + NEAR_DEG) % 360 - NEAR_DEG).clamp_min(0)
    frames = azimuth[:, frame_order(azimuth.shape[1], turn)]
    # the input view is the last frame at 360 degrees and the frame before the first at 0
    turned = torch.cat([torch.full_like(frames[:, :1], NEAR_DEG), frames[:, :-1]], 1)
    if not bool((turned.diff(dim=1) > 0).all() & (frames[:, -1] < NEAR_DEG).all()):
        raise UserError(
            "SV3D's views are one turn round the object, and these stand at azimuths "
            f"{', '.join(f'{float(a):.1f}' for a in azimuth[0])} degrees; give the pair a rig whose azimuths "
            "start at 0 and rise"
        )
    steps = torch.arange(1, frames.shape[1] + 1, device=frames.device) * 360 / frames.shape[1]
    uneven = ((frames - steps + 180) % 360 - 180).abs().amax() > EVEN_DEG
    if even and bool(uneven | ((elevation - elevation[:, :1]).abs().amax() > EVEN_DEG)):
        raise UserError(
            "SV3D_u turns evenly round the object at the input's elevation, and a view of this rig stands "
            "elsewhere; give the pair an even rig of one elevation, or choose SV3D_p"
        )
    return (90 - elevation).deg2rad(), azimuth.deg2rad()


def view_vectors(cameras: Tensor, told: str, turn: str, noise_level: float) -> Tensor:
    """(B, V, 4, 4) c2w -> (B, V, 1280): noise level, polar angle, azimuth; told "nothing": (B, V, 256)."""
    polar, azimuth = orbit_angles(cameras, turn, even=told == "nothing")
    noise = sinusoid(torch.full_like(polar, noise_level), NOISE_DIM)
    if told == "nothing":
        return noise
    return torch.cat([noise, sinusoid(polar, ANGLE_DIM), sinusoid(azimuth, ANGLE_DIM)], -1)


def vector_dim(told: str) -> int:
    """Length of the vector that the network is told of a view: noise, and the camera if `told` has it."""
    return NOISE_DIM + (0 if told == "nothing" else 2 * ANGLE_DIM)


def triangle(views: int, largest: float, turn: str) -> Tensor:
    """(V,) guidance of each view: 1 in the first and the last frame, `largest` half a turn away."""
    places = torch.linspace(0, 1, views, dtype=torch.float64)
    weights = 1 + (largest - 1) * (1 - (2 * places - 1).abs())
    of_views = torch.empty_like(weights)
    of_views[frame_order(views, turn)] = weights
    return of_views.float()
