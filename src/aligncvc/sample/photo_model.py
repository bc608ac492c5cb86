"""What a photograph became: Gaussians, the views on the way, and the files that they are written as."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import trimesh
from torch import Tensor

from aligncvc.config.jobs.sample import PhotoJob
from aligncvc.errors import UserError
from aligncvc.files import atomic_path
from aligncvc.loop.unroll import Sampled
from aligncvc.meshes import mesh_from_gaussians, save_glb
from aligncvc.meshes.decimate import decimated
from aligncvc.ownership import claim_files
from aligncvc.sample.sets import save_surface
from aligncvc.scene.gaussians import Gaussians, save_ply
from aligncvc.scene.views import save_png
from aligncvc.viewer.page import ViewSettings, write_viewer
from aligncvc.viewer.ply import save_viewer_ply
from aligncvc.viewer.templating import data_uri
from aligncvc.viewer.turntable import animation_bytes, turntable


@dataclass(frozen=True)
class PhotoModel:
    """A photograph's 3D model. image: (3, H, W) in [0, 1], the cut-out on white that the networks saw.

    doubts: sentences about what is likely to have gone wrong with the picture (`sample.doubts`).
    """

    job: PhotoJob
    image: Tensor
    sampled: Sampled
    doubts: tuple[str, ...] = ()

    @property
    def gaussians(self) -> Gaussians:
        """The model, unbatched, in the project's world (z up)."""
        return self.sampled.gaussians

    @property
    def views(self) -> Tensor:
        """(S, V, 3, H, W) in [0, 1]: the generated views at the kept steps, the last one at the end."""
        return self.sampled.views

    @property
    def renderings(self) -> Tensor:
        """(S, V, 3, H, W) in [0, 1]: the 3D model at the same steps, seen by the same cameras."""
        return self.sampled.renderings

    def save(self, path: Path | str, *, raw: bool = False, force: bool = False) -> Path:
        """Write the model as what the name ends in, and return the path.

        .ply: Gaussians for public viewers, or with `raw` as the networks have them. .glb: a mesh. .html: a
        page to turn it on. .webp: a turntable. .png: the cut-out. Raises UserError for other names, for a
        model without a surface, and, unless force, if a file of another origin is there.
        """
        path = Path(path)
        kind = path.suffix.lower()
        if kind not in (".ply", ".glb", ".html", ".webp", ".png"):
            raise UserError(f"{path} must end in .ply, .glb, .html, .webp or .png, which say what is written")
        claim_files([path], force=force)
        if kind == ".ply":
            self.write_ply(path, raw=raw)
        elif kind == ".glb":
            if self._surface is None:
                raise UserError(f"the model is too translucent for the surface of {path}; save it as .ply")
            save_glb(path, self._surface)
        elif kind == ".html":
            self.write_page(path)
        elif kind == ".webp":
            self.write_turntable(path)
        else:
            save_png(path, self.image)
        return path

    def write_ply(self, path: Path, *, raw: bool = False) -> None:
        if raw:
            save_ply(path, self.gaussians)
        else:
            save_viewer_ply(path, self.gaussians, self._size_px, self._view)

    def write_surface(self, path: Path) -> list[Path]:
        """Write the mesh (.glb), unless there is none; returns what was written."""
        return save_surface(path, self._surface)

    def write_turntable(self, path: Path) -> None:
        with atomic_path(path) as temporary:
            temporary.write_bytes(self._turntable)

    def write_page(self, path: Path, caption: str = "") -> None:
        write_viewer(
            path,
            self.gaussians,
            path.stem,
            caption=caption,
            native_px=self._size_px,
            poster=data_uri(self._turntable, ".webp"),
            view=self._view,
        )

    @property
    def _size_px(self) -> int:
        return self.job.sample.pair.renderings_px

    @property
    def _view(self) -> ViewSettings:
        return ViewSettings.of(self.job)

    @cached_property
    def _surface(self) -> trimesh.Trimesh | None:
        """As few triangles as show the model; None if it is too translucent to have a surface."""
        mesh = mesh_from_gaussians(self.gaussians, voxel=self.job.sample.voxel)
        return None if mesh is None else decimated(mesh)

    @cached_property
    def _turntable(self) -> bytes:
        """One turn as a looping WebP, drawn once for the file and the page."""
        return animation_bytes(turntable(self.gaussians, self._view, self.job.turntable_views, self._size_px))
