"""3D results that can be measured: drawn at any pose, and turned into a surface."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Protocol

import torch
import trimesh
from torch import Tensor

from aligncvc.meshes import draw_mesh, load_mesh, mesh_from_gaussians
from aligncvc.meshes.tsdf import OPAQUE
from aligncvc.scene.cameras import Cameras
from aligncvc.scene.gaussians import Gaussians
from aligncvc.splat import Rendering, rasterise
from aligncvc.splat.harmonics import colours_from

VOXEL = 0.03
"""Edge of the cells that a surface is extracted with, unless asked for another."""


class Model(Protocol):
    """A 3D result, in the frame of the input view (input view at azimuth 0, object in the unit sphere)."""

    def draw(self, cameras: Cameras, background: float) -> Rendering:
        """rgb (V, 3, H, W) in [0, 1]; alpha, depth (V, 1, H, W); depth is z in the camera, 0 = nothing."""

    def mesh(self) -> trimesh.Trimesh | None:
        """The surface, in the same frame; None if the model has none (nothing opaque)."""


@dataclass(frozen=True)
class GaussianModel:
    """Unbatched 3D Gaussians.

    surface: file of their surface, from sampling or as another method gives it; None extracts it here, with
    cells of `voxel`. harmonics: (N, K, 3) coefficients (`gaussians.load_harmonics`), which then replace the
    colours; None: they are the same from everywhere.
    """

    gaussians: Gaussians
    voxel: float = VOXEL
    surface: Path | None = None
    harmonics: Tensor | None = None

    @torch.no_grad()
    def draw(self, cameras: Cameras, background: float) -> Rendering:
        """rgb and alpha as rasterised; depth is sum w z / sum w where alpha > 0.5, else 0."""
        drawn = self._rasterised(cameras, background)
        surface = drawn.depth / drawn.alpha.clamp_min(OPAQUE)
        depth = surface.where(drawn.alpha > OPAQUE, torch.zeros_like(surface))
        return Rendering(drawn.rgb.clamp(0, 1), drawn.alpha, depth)

    def _rasterised(self, cameras: Cameras, background: float) -> Rendering:
        if self.harmonics is None:
            return rasterise(self.gaussians, cameras, background=background)
        # each view has colours of its own: as many sets as views, drawn once each
        colours = colours_from(self.harmonics, self.gaussians.means, cameras.c2w[:, :3, 3])
        members = (getattr(self.gaussians, field.name) for field in fields(self.gaussians))
        sets = Gaussians(*(member.expand(len(colours), *member.shape) for member in members))
        single = replace(cameras, c2w=cameras.c2w[:, None])
        drawn = rasterise(replace(sets, colors=colours), single, background=background)
        return Rendering(drawn.rgb[:, 0], drawn.alpha[:, 0], drawn.depth[:, 0])

    def mesh(self) -> trimesh.Trimesh | None:
        """The surface, made once; None if there is none (`meshes.mesh_from_gaussians`: nothing is opaque)."""
        return self._mesh

    @cached_property
    def _mesh(self) -> trimesh.Trimesh | None:
        if self.surface is None:
            return mesh_from_gaussians(self.gaussians, voxel=self.voxel)
        return MeshModel(load_mesh(self.surface, colours=False)).mesh()


@dataclass(frozen=True)
class MeshModel:
    """A triangle mesh, unlit."""

    surface: trimesh.Trimesh

    def draw(self, cameras: Cameras, background: float) -> Rendering:
        """rgb, alpha (4 samples a pixel) and depth of the nearest surface, 0 where there is none."""
        return draw_mesh(self.surface, cameras, background)

    def mesh(self) -> trimesh.Trimesh | None:
        """The mesh itself; None if it has no faces."""
        return self.surface if len(self.surface.faces) else None
