"""The oracle in torch: the projection, and every Gaussian at every pixel, differentiated by autograd.

EWA projection (Zwicker et al. 2001) with the conventions of gsplat, `docs/rasteriser.md`. The CPU kernel has
the same formulas in C, checked against these. Memory grows with N * H * W.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from aligncvc.scene.cameras import Cameras
from aligncvc.scene.gaussians import Gaussians
from aligncvc.splat.constants import ALPHA_MAX, ALPHA_MIN, BLUR_PX2, FRUSTUM_MARGIN, STOP


class Projection(NamedTuple):
    """Gaussians as V cameras see them, each (..., V, N, ...).

    means2d (x, y) in pixels, pixel centres at half-integers; conics (xx, xy, yy) of the inverse 2D
    covariance; radii (x, y): half-extents in pixels of the box outside which alpha < 1/255; visible: in front
    of the near plane, opaque enough, and that box touches the image.
    """

    means2d: Tensor
    conics: Tensor
    depths: Tensor
    radii: Tensor
    visible: Tensor


def rotation_matrices(quats: Tensor) -> Tensor:
    """(..., 4) quaternions (w, x, y, z) of any length -> (..., 3, 3) rotations."""
    w, x, y, z = F.normalize(quats, dim=-1).unbind(-1)
    return torch.stack([
        1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
        2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
        2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
    ], -1).unflatten(-1, (3, 3))  # fmt: skip


def covariances(scales: Tensor, quats: Tensor) -> Tensor:
    """(..., 3) standard deviations and (..., 4) quaternions -> (..., 3, 3) covariances R S S R^T."""
    half = rotation_matrices(quats) * scales.unsqueeze(-2)
    return half @ half.transpose(-1, -2)


def project(gaussians: Gaussians, cameras: Cameras) -> Projection:
    """Project (..., N) Gaussians into (..., V) cameras; differentiable wrt means, scales and quats."""
    w2c = cameras.w2c.to(gaussians.means.dtype)
    rotation, translation = w2c[..., :3, :3], w2c[..., :3, 3]  # (..., V, 3, 3), (..., V, 3)
    local = torch.einsum("...vij,...nj->...vni", rotation, gaussians.means) + translation.unsqueeze(-2)
    x, y, z = local.unbind(-1)  # (..., V, N)
    in_front = z >= cameras.near
    # Behind the near plane nothing is drawn; a harmless depth keeps the unused values and gradients finite.
    z = torch.where(in_front, z, torch.ones_like(z))
    focal, width, height = cameras.focal_px, cameras.width, cameras.height
    means2d = torch.stack([focal * x / z + width / 2, focal * y / z + height / 2], -1)

    # Local affine approximation; far outside the image it is taken at the margin, where it is still sane.
    x_bound = (1 + FRUSTUM_MARGIN) * 0.5 * width / focal
    y_bound = (1 + FRUSTUM_MARGIN) * 0.5 * height / focal
    slope_x, slope_y = (x / z).clamp(-x_bound, x_bound), (y / z).clamp(-y_bound, y_bound)
    zero = torch.zeros_like(z)
    jacobian = torch.stack([focal / z, zero, -focal * slope_x / z, zero, focal / z, -focal * slope_y / z], -1)
    affine = jacobian.unflatten(-1, (2, 3)) @ rotation.unsqueeze(-3)  # (..., V, N, 2, 3)
    covariance = covariances(gaussians.scales, gaussians.quats).unsqueeze(-4)
    cov2d = affine @ covariance @ affine.transpose(-1, -2)
    xx, yy, xy = cov2d[..., 0, 0] + BLUR_PX2, cov2d[..., 1, 1] + BLUR_PX2, cov2d[..., 0, 1]
    det = xx * yy - xy * xy
    valid = in_front & (det > 0)
    det = torch.where(valid, det, torch.ones_like(det))
    conics = torch.stack([yy / det, -xy / det, xx / det], -1)

    with torch.no_grad():
        opacity = gaussians.opacities.unsqueeze(-2)
        reach = (2 * (opacity / ALPHA_MIN).clamp_min(1).log()).sqrt()
        radii = reach.unsqueeze(-1) * torch.stack([xx, yy], -1).sqrt()
        size = torch.tensor([width, height], dtype=radii.dtype, device=radii.device)
        on_screen = ((means2d + radii > 0) & (means2d - radii < size)).all(-1)
        visible = valid & on_screen & (opacity >= ALPHA_MIN)
        radii = radii * visible.unsqueeze(-1)
    return Projection(means2d, conics, local[..., 2], radii, visible)


def rasterise_dense(
    gaussians: Gaussians, cameras: Cameras, background: float
) -> tuple[Tensor, Tensor, Tensor]:
    """(B, N, ..) Gaussians, (B, V, 4, 4) cameras -> rgb (B, V, 3, H, W), alpha and depth (B, V, 1, H, W)."""
    views = [
        _draw_view(gaussians[b], replace(cameras, c2w=c2w[None]), background)
        for b, c2ws in enumerate(cameras.c2w)
        for c2w in c2ws
    ]
    image = torch.stack(views).unflatten(0, cameras.c2w.shape[:2])
    return image[:, :, :3], image[:, :, 3:4], image[:, :, 4:]


def alphas(gaussians: Gaussians, camera: Cameras) -> tuple[Tensor, Tensor, Tensor]:
    """One view: alpha (M, H, W) of the M visible Gaussians front to back, their ids (M,) and depths (M,)."""
    p = project(gaussians, camera)
    ids = p.visible[0].nonzero()[:, 0]
    ids = ids[p.depths[0, ids].sort(stable=True).indices]
    mean, conic = p.means2d[0, ids], p.conics[0, ids, :, None, None]
    dx = (mean[:, :1] - (torch.arange(camera.width).to(mean) + 0.5))[:, None, :]
    dy = (mean[:, 1:] - (torch.arange(camera.height).to(mean) + 0.5))[:, :, None]
    sigma = 0.5 * (conic[:, 0] * dx * dx + conic[:, 2] * dy * dy) + conic[:, 1] * dx * dy
    alpha = (gaussians.opacities[ids, None, None] * torch.exp(-sigma)).clamp(max=ALPHA_MAX)
    return alpha * ((alpha >= ALPHA_MIN) & (sigma >= 0)), ids, p.depths[0, ids]


def _draw_view(gaussians: Gaussians, camera: Cameras, background: float) -> Tensor:
    """(5, H, W): rgb over the background, alpha, depth."""
    alpha, ids, depths = alphas(gaussians, camera)
    # A pixel is done before the Gaussian that would bring its transmittance to STOP or below. The running
    # product never grows, so everything behind that Gaussian fails the same comparison.
    drawn = (1 - alpha.detach()).cumprod(0) > STOP
    alpha = alpha * drawn
    through = torch.cat([alpha.new_ones(1, camera.height, camera.width), (1 - alpha).cumprod(0)])
    features = torch.cat([gaussians.colors[ids], depths[:, None]], -1)  # (M, 4)
    image = torch.einsum("mhw,mc->chw", alpha * through[:-1], features)
    left = through[-1:]
    return torch.cat([image[:3] + left * background, 1 - left, image[3:]])
