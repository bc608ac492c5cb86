"""A trial, one object of one method and one seed: its truth beside what the method made, and its values.

Every family of metrics is a function `(Trial, ...) -> Iterable[Value]`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Literal, NamedTuple

import torch
import trimesh
from torch import Tensor

from aligncvc.config.jobs.evaluate import Up
from aligncvc.evaluate.records import FINAL_STEP, MEAN_VIEW
from aligncvc.meshes import draw_mesh, load_mesh, mesh_from_gaussians
from aligncvc.meshes.tsdf import OPAQUE
from aligncvc.scene.cameras import Cameras
from aligncvc.scene.gaussians import Gaussians
from aligncvc.scene.views import Views, composite
from aligncvc.splat import Rendering, rasterise
from aligncvc.splat.harmonics import colours_from

VOXEL = 0.03
"""Edge of the cells that a surface is extracted with, unless asked for another."""


@dataclass(frozen=True)
class GaussianModel:
    """Unbatched 3D Gaussians in the frame of the input view (at azimuth 0, object in the unit sphere).

    surface: file of their surface; None extracts it here, with cells of `voxel`. harmonics: (N, K, 3)
    coefficients (`gaussians.load_harmonics`), which then replace the colours. up: the surface's
    (`load_mesh`).
    """

    gaussians: Gaussians
    voxel: float = VOXEL
    surface: Path | None = None
    harmonics: Tensor | None = None
    up: Up = "z"

    @torch.no_grad()
    def draw(self, cameras: Cameras, background: float) -> Rendering:
        """rgb (V, 3, H, W) in [0, 1]; alpha, depth (V, 1, H, W); depth sum w z / sum w, or 0 = nothing."""
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
        """The surface, in the same frame; None if nothing is opaque."""
        if self.surface is None:
            return mesh_from_gaussians(self.gaussians, voxel=self.voxel)
        return MeshModel(load_mesh(self.surface, colours=False, up=self.up)).mesh()


@dataclass(frozen=True)
class MeshModel:
    """A triangle mesh, unlit, in the same frame."""

    surface: trimesh.Trimesh

    def draw(self, cameras: Cameras, background: float) -> Rendering:
        return draw_mesh(self.surface, cameras, background)

    def mesh(self) -> trimesh.Trimesh | None:
        return self.surface if len(self.surface.faces) else None


Model = GaussianModel | MeshModel
"""A 3D result."""


class Drawn(NamedTuple):
    """A model at S views: rgb (S, 3, H, W) in [0, 1] over a background, alpha (S, 1, H, W)."""

    rgb: Tensor
    alpha: Tensor


Steps = Literal["all", "four", "last"]
"""Which of the kept steps the costly metrics are measured after."""


@dataclass(frozen=True)
class Value:
    """One measured number of a trial. view: ring index, or MEAN_VIEW; step: 1..K, or FINAL_STEP."""

    metric: str
    value: float
    view: int = MEAN_VIEW
    step: int = FINAL_STEP


@dataclass(frozen=True)
class Trial:
    """One object, one seed, one method.

    truth: the ground-truth ring; its cameras stand in the frame of the input view. rig: ring indices of the
    generator's views, the input view first; of published pictures, which have no views there, the rig's own
    numbers, and `poses` its cameras. scored: ring indices that image metrics compare. background:
    grey value both sides are composited on. views, renders: generated views and renderings of their
    reconstruction for each kept sampling step, (K, V, 3, H, W) in [0, 1] on white, V = len(rig); None where
    a prediction has none. model: the final 3D result. surface: the ground-truth mesh in the same frame.
    cost: numbers measured while sampling, by metric name.
    """

    object: str
    seed: int
    truth: Views
    rig: list[int]
    scored: list[int]
    background: float
    views: Tensor | None
    renders: Tensor | None
    model: Model | None
    surface: trimesh.Trimesh | None
    cost: Mapping[str, float]
    poses: Cameras | None = None

    @property
    def rig_cameras(self) -> Cameras:
        """(V, 4, 4) of the generator's views, in the frame of the input view."""
        return self.truth.cameras[self.rig] if self.poses is None else self.poses

    @property
    def rig_views(self) -> Views | None:
        """Ground truth at the rig's poses; None where there is none, of published pictures."""
        return self.truth[self.rig] if self.poses is None else None

    @property
    def rig_truth(self) -> Tensor | None:
        """`rig_views`, (V, 3, H, W) on white, as generators are taught."""
        return None if self.rig_views is None else self.rig_views.on_white()

    @property
    def scored_truth(self) -> Tensor:
        """Ground truth at the scored poses over `background`, (S, 3, H, W)."""
        return composite(self.truth[self.scored].rgba, self.background)

    @torch.no_grad()
    def draw_scored(self) -> Drawn | None:
        """The model at the scored views over `background`; None without a model."""
        if self.model is None:
            return None
        drawn = self.model.draw(self.truth.cameras[self.scored], self.background)
        return Drawn(drawn.rgb.clamp(0, 1), drawn.alpha)


def per_view(metric: str, values: Tensor, views: Sequence[int], step: int = FINAL_STEP) -> Iterator[Value]:
    """One value a view, then their mean; views without a value (NaN) are left out of the mean."""
    for view, value in zip(views, values.tolist(), strict=True):
        yield Value(metric, value, view, step)
    yield Value(metric, float(values.nanmean()), MEAN_VIEW, step)


def measured_steps(count: int, which: Steps) -> list[int]:
    """Of 1..count: all, four evenly spaced ones that end with the last, or the last only."""
    kept = {"all": count, "four": min(4, count), "last": 1}[which]
    return [round((i + 1) * count / kept) for i in range(kept)]
