"""Differentiable rasterisation of 3D Gaussians: one function, three backends (`docs/rasteriser.md`).

`cpu`: a C kernel, forward and backward; `gsplat`: the same maths on CUDA; `dense`: a slow oracle in torch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from aligncvc.errors import UserError
from aligncvc.scene.cameras import Cameras
from aligncvc.scene.gaussians import Gaussians
from aligncvc.splat.constants import BLUR_PX2
from aligncvc.splat.cpu import rasterise_cpu
from aligncvc.splat.dense import rasterise_dense

Backend = Literal["auto", "cpu", "dense", "gsplat"]


def rasterise_gsplat(
    gaussians: Gaussians, cameras: Cameras, background: float
) -> tuple[Tensor, Tensor, Tensor]:
    """As `rasterise_cpu`, by gsplat, on CUDA. Raises UserError without it, or for tensors elsewhere."""
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


_BACKENDS: dict[str, Callable[[Gaussians, Cameras, float], tuple[Tensor, Tensor, Tensor]]] = {
    "cpu": rasterise_cpu,
    "dense": rasterise_dense,
    "gsplat": rasterise_gsplat,
}


@dataclass(frozen=True)
class Rendering:
    """rgb (B, V, 3, H, W) over the background; alpha (B, V, 1, H, W) in [0, 1]; depth (B, V, 1, H, W).

    depth: sum_i w_i z_i of camera z (world units; not divided by alpha).
    """

    rgb: Tensor
    alpha: Tensor
    depth: Tensor


def rasterise(
    gaussians: Gaussians, cameras: Cameras, background: float = 1.0, backend: Backend = "auto"
) -> Rendering:
    """Draw (B, N, ..) Gaussians from (B, V, 4, 4) or shared (V, 4, 4) cameras, or (N, ..) from (V, 4, 4).

    Differentiable (once) with respect to every member of the Gaussians, not to the cameras. Quaternions need
    not be of unit length. `auto`: gsplat on CUDA, the C kernel on a CPU. float32; on a CPU also float64.
    Raises ValueError for shapes or numbers that cannot be drawn, UserError if the backend is not available.
    """
    batched = gaussians.means.dim() == 3
    if not batched:
        gaussians = gaussians[None]
    if cameras.c2w.dim() == 3:
        cameras = replace(cameras, c2w=cameras.c2w.expand(len(gaussians.means), -1, -1, -1))
    _check(gaussians, cameras)
    if backend == "auto":
        backend = "gsplat" if gaussians.means.is_cuda else "cpu"
    if backend not in _BACKENDS:
        raise ValueError(f"unknown rasteriser backend {backend!r}: auto, {', '.join(_BACKENDS)}")
    images = _BACKENDS[backend](gaussians, cameras, background)
    return Rendering(*images) if batched else Rendering(*(image[0] for image in images))


def _check(gaussians: Gaussians, cameras: Cameras) -> None:
    """Raise ValueError unless shapes, types and devices agree and (on a CPU) every number is finite."""
    b, n = gaussians.means.shape[:2]
    means = gaussians.means
    if means.dtype not in (torch.float32, torch.float64):
        raise ValueError(f"the rasteriser draws float32 or float64, not {means.dtype}")
    for field, width in zip(fields(gaussians), (3, 3, 4, None, 3), strict=True):
        tensor, shape = getattr(gaussians, field.name), (b, n) if width is None else (b, n, width)
        if tensor.shape != shape:
            raise ValueError(f"Gaussians.{field.name} has shape {tuple(tensor.shape)}, expected {shape}")
        if tensor.dtype != means.dtype or tensor.device != means.device:
            raise ValueError(
                f"Gaussians.{field.name} is {tensor.dtype} on {tensor.device}, "
                f"means is {means.dtype} on {means.device}"
            )
        # A culled NaN would be a silent hole with zero gradient. On CUDA the check would stall the stream.
        # By numpy: torch would wake its thread pool, which then spins beside the kernel's threads.
        if not tensor.is_cuda and not np.isfinite(tensor.detach().numpy()).all():
            raise ValueError(f"Gaussians.{field.name} has numbers that are not finite")
    if cameras.c2w.shape[0] != b or cameras.c2w.shape[2:] != (4, 4):
        raise ValueError(f"cameras.c2w has shape {tuple(cameras.c2w.shape)}, expected ({b}, V, 4, 4)")
    if max(cameras.width, cameras.height) > 32767:
        raise ValueError(f"an image of {cameras.width} x {cameras.height} pixels is too large (32767)")
