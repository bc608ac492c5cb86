"""The models of the report that can be turned: which, from where, and how large they may be together."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from aligncvc.config.sections import Config, Method
from aligncvc.errors import UserError
from aligncvc.evaluate.samples import read_manifest
from aligncvc.paper.data import lead_method
from aligncvc.scene.cameras import orbit
from aligncvc.scene.gaussians import Gaussians, load_ply
from aligncvc.scene.views import composite, load_png
from aligncvc.splat import rasterise
from aligncvc.viewer.pack import widen_to_pixels
from aligncvc.viewer.page import ViewSettings, viewer_html
from aligncvc.viewer.templating import data_uri

POSTER_PX = 320
MODEL_BYTES = 8_000_000
"""Base64 of all models of one page; those beyond it are shown as pictures."""


@dataclass(frozen=True)
class Model:
    """One object of the report. html: the viewer, or a picture; input: a data: address, or None."""

    name: str
    html: str
    input: str | None
    count: int
    live: bool


def chosen_method(config: Config) -> tuple[str, Method]:
    """The method whose models are shown, as in the figures (`lead_method`)."""
    name = lead_method(config, list(config.sample.methods))
    return name, config.sample.methods[name]


def webp(image: Tensor) -> str:
    """A (3, H, W) image in [0, 1] as the data: address of a WebP."""
    array = (image.detach().clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, format="WEBP", quality=88)
    return data_uri(buffer.getvalue(), ".webp")


@torch.no_grad()
def poster(gaussians: Gaussians, view: ViewSettings) -> str:
    """The model from the viewer's first pose, as the data: address of a picture."""
    camera = orbit(
        [view.azimuth_deg],
        view.elevation_deg,
        distance=view.distance,
        fov_y_deg=view.fov_y_deg,
        size_px=POSTER_PX,
    )
    return webp(rasterise(gaussians, camera, background=1.0).rgb[0])


def input_picture(folders: Sequence[Path], object_id: str) -> str | None:
    """The input view on white, from the first render folder that has the object."""
    for folder in folders:
        path = folder / object_id / "000.png"
        if path.exists():
            image = load_png(path)
            return webp(composite(image, 1.0) if image.shape[0] == 4 else image)
    return None


def read_models(
    config: Config, manifests: Sequence[Path], folders: Sequence[Path], names: Mapping[str, str]
) -> tuple[str | None, list[Model]]:
    """The method shown and its first config.paper.viewer_models objects, one seed each, in their order.

    If the chosen method has no samples here, the last manifest's is shown; without any, (None, []).
    Samples whose model.ply is missing are left out. Raises UserError for an unreadable manifest or model.
    """
    found = {path.parent: read_manifest(path.parent) for path in manifests}
    wanted = chosen_method(config)[0]
    folder = next((f for f, manifest in found.items() if manifest.method == wanted), None)
    if folder is None and found:
        folder = list(found)[-1]
    if folder is None:
        return None, []
    method, entries = found[folder].method, found[folder].entries
    first_seed: dict[str, str] = {}
    for (object_id, _), path in sorted(entries.items(), key=lambda item: item[0][1]):
        first_seed.setdefault(object_id, path)
    order = list(dict.fromkeys(object_id for object_id, _ in entries))
    models: list[Model] = []
    view, room = ViewSettings.of(config.render), MODEL_BYTES
    for object_id in order:
        ply = folder / first_seed[object_id] / "model.ply"
        if len(models) == config.paper.viewer_models:
            break
        if not ply.exists():
            continue
        model = _model(config, object_id, names.get(object_id, object_id), ply, folders, view, room)
        room -= len(model.html) if model.live else 0
        models.append(model)
    return method, models


def _model(
    config: Config,
    object_id: str,
    name: str,
    ply: Path,
    folders: Sequence[Path],
    view: ViewSettings,
    room: int,
) -> Model:
    gaussians = load_ply(ply)
    if len(gaussians) == 0:
        raise UserError(f"{ply} holds no Gaussian; sample the object again")
    # seen at the size of a web page, the model must look as it did at its own resolution
    shown = widen_to_pixels(
        gaussians, config.render.size_px, distance=view.distance, fov_y_deg=view.fov_y_deg
    )
    picture = poster(shown, view)
    label = f"{name}, a 3D model made from one picture"
    page = viewer_html(f"model-{object_id}", shown, label=label, view=view, poster=picture)
    live = len(page) <= room
    if not live:
        page = viewer_html(f"model-{object_id}", None, label=label, view=view, poster=picture)
    return Model(name, page, input_picture(folders, object_id), len(gaussians), live)
