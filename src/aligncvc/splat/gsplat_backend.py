"""gsplat on CUDA behind the project's rasteriser interface."""

from __future__ import annotations

import torch
from torch import Tensor

from aligncvc.errors import UserError
from aligncvc.scene.cameras import Cameras
from aligncvc.scene.gaussians import Gaussians
from aligncvc.splat.constants import BLUR_PX2


def rasterise_gsplat(
    gaussians: Gaussians, cameras: Cameras, background: float
) -> tuple[Tensor, Tensor, Tensor]:
    """(B, N, ..) Gaussians, (B, V, 4, 4) cameras -> rgb (B, V, 3, H, W), alpha and depth (B, V, 1, H, W).

    float32 on a CUDA device. Raises UserError without one, without gsplat, or for tensors elsewhere.
    """
    if not torch.cuda.is_available():
        raise UserError(
            "the gsplat rasteriser needs a CUDA device and torch sees none; "
            "use backend 'cpu' or 'auto', or install a CUDA build of torch"
        )
    if not gaussians.means.is_cuda:
        raise UserError(
            "the gsplat rasteriser got Gaussians that live on the CPU; "
            "move them with gaussians.to('cuda') or use backend 'auto'"
        )
    try:
        from gsplat import rasterization
    except ImportError as error:
        raise UserError(f"gsplat is not installed ({error}); pip install gsplat==1.5.3") from error
    w2c = cameras.w2c.to(gaussians.means)
    intrinsics = cameras.intrinsics.to(gaussians.means).expand(*w2c.shape[:2], 3, 3)
    image, alpha, _ = rasterization(
        means=gaussians.means, quats=gaussians.quats, scales=gaussians.scales, opacities=gaussians.opacities,
        colors=gaussians.colors, viewmats=w2c.contiguous(), Ks=intrinsics.contiguous(), width=cameras.width,
        height=cameras.height, near_plane=cameras.near, eps2d=BLUR_PX2, packed=False, render_mode="RGB+D",
        rasterize_mode="classic",
    )  # fmt: skip
    # The background is laid under here, not by gsplat, which would also lay it under the depth.
    image, alpha = image.movedim(-1, 2), alpha.movedim(-1, 2)
    return image[:, :, :3] + (1 - alpha) * background, alpha, image[:, :, 3:]
