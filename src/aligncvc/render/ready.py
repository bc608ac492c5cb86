"""Objects that come with their views: GObjaverse's frames, published pictures. Blender renders neither."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from aligncvc.config.objects import Render
from aligncvc.objects import gobjaverse, pictures
from aligncvc.objects.indexes import read_index
from aligncvc.render.jobs import SourceObject
from aligncvc.scene.cameras import ring_azimuths_deg
from aligncvc.scene.renderset import RIG_CAMERA
from aligncvc.scene.views import Views


def is_ready(path: Path) -> bool:
    """Whether the file stands for an object's views."""
    return path.name.endswith((gobjaverse.SUFFIX, pictures.SUFFIX))


def misfit(source: SourceObject, render: Render) -> str | None:
    """Why an object cannot have the views that are asked for, or None."""
    shown = source.path.name.endswith(pictures.SUFFIX)
    if shown and render.pictures is None:
        return "it comes as pictures; evaluate it by a protocol with render.pictures"
    if not shown and render.pictures is not None:
        return "it has no pictures, which render.pictures asks for; set source: pictures of its object set"
    if source.variant and is_ready(source.path):
        return "rendered frames have one look only; set `variants` of this object set to 1"
    return None


def ready_views(path: Path, render: Render) -> tuple[Views, dict[str, Any]]:
    """The views that a file stands for, and facts of their cameras.json. Raises UserError for odd files.

    Of an object and a rendering that have no `misfit`.
    """
    folder = read_index(path)
    if not path.name.endswith(pictures.SUFFIX):
        facts = {"frames": folder.name, "renderer": {"engine": "GObjaverse's frames"}}
        return gobjaverse.read_views(folder, render.ring_views, render.size_px), facts
    return pictures.read_pictures(folder, render), _picture_facts(folder, render)


def _picture_facts(folder: Path, render: Render) -> dict[str, Any]:
    """What cameras.json says of pictures: their numbers, the mesh's place, what the input is taken for."""
    assert render.pictures is not None
    mesh = pictures.load_scan(folder)
    assumed = render.model_dump(include={"elevation_deg", "distance", "fov_y_deg"})
    return {
        "pictures": render.pictures.order,
        "renderer": {"engine": "published pictures"},
        RIG_CAMERA: {"azimuths_deg": ring_azimuths_deg(render.rig_views), **assumed},
        **({} if mesh is None else {"normalisation": pictures.normalisation(mesh)}),
    }
