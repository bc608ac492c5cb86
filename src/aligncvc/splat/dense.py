"""The oracle: every Gaussian at every pixel in plain torch, differentiated by autograd.

Memory grows with N * H * W (about 20 arrays of that many numbers a view): for small scenes and for tests.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from aligncvc.scene.cameras import Cameras
from aligncvc.scene.gaussians import Gaussians
from aligncvc.splat.constants import ALPHA_MAX, ALPHA_MIN, STOP
from aligncvc.splat.projection import project


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
    """One view: alpha (M, H, W) of the M visible Gaussians front to back, their ids (M,) and depths (M,).

    Alphas below 1/255 are 0.
    """
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
