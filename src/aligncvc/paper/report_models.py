"""The models of the report that can be turned: which, from where, and how large they may be together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from aligncvc.config.jobs.paper import PaperJob
from aligncvc.errors import UserError
from aligncvc.paper.pair_results import lead_method, read_manifests
from aligncvc.paper.report_parts import webp
from aligncvc.scene.cameras import orbit
from aligncvc.scene.gaussians import Gaussians, load_ply
from aligncvc.scene.views import composite, load_png
from aligncvc.splat import rasterise
from aligncvc.viewer.pack import widen_to_pixels
from aligncvc.viewer.page import ViewSettings, viewer_html

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


@dataclass(frozen=True)
class PairModels:
    """The models of one pair. method: what made them, as in the figures (`lead_method`)."""

    pair: str
    method: str
    steps: int
    models: list[Model]


def picture(image: Tensor) -> str:
    """A (3, H, W) image in [0, 1] as a data: address."""
    array = (image.detach().clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()
    return webp(Image.fromarray(array), quality=88)


@torch.no_grad()
def poster(gaussians: Gaussians, view: ViewSettings) -> str:
    """The model from the viewer's first pose, as the data: address of a picture."""
    lens = {"distance": view.distance, "fov_y_deg": view.fov_y_deg}
    camera = orbit([view.azimuth_deg], view.elevation_deg, **lens, size_px=POSTER_PX)
    return picture(rasterise(gaussians, camera, background=1.0).rgb[0])


def input_picture(folders: Sequence[Path], object_id: str) -> str | None:
    """The input view on white, from the first render folder that has the object."""
    path = next((path for f in folders if (path := f / object_id / "000.png").exists()), None)
    if path is None:
        return None
    image = load_png(path)
    return picture(composite(image, 1.0) if image.shape[0] == 4 else image)


def read_models(
    job: PaperJob, manifests: Sequence[Path], folders: Sequence[Path], names: Mapping[str, str]
) -> list[PairModels]:
    """Of each pair the lead's first paper.viewer_models objects, one seed each, in their order.

    folders: of the renders, for the input views. Samples whose model.ply is missing are left out. Raises
    UserError for an unreadable manifest or model.
    """
    known, room = read_manifests(job, manifests), MODEL_BYTES
    shown: list[PairModels] = []
    for pair in job.pairs:
        own = [row for row in job.rows if row.pair == pair.name]
        rows = {row.method: row for row in own if (row.pair, row.method) in known}
        if not rows:
            continue
        method = lead_method(list(rows.values()))
        models: list[Model] = []
        manifest = next(m for key, m in known.items() if key == (pair.name, method))
        for object_id, ply in _first_seeds(manifest.folder, manifest.entries):
            if len(models) == job.paper.viewer_models:
                break
            source = input_picture(folders, object_id)
            name = names.get(object_id, object_id)
            anchor = f"model-{object_id}" if not shown else f"model-{len(shown)}-{object_id}"
            models.append(_model(job, pair.renderings_px, anchor, name, ply, source, room))
            room -= len(models[-1].html) if models[-1].live else 0
        shown.append(PairModels(pair.name, method, rows[method].steps, models))
    return shown


def _first_seeds(folder: Path, entries: Mapping[tuple[str, int], str]) -> Iterator[tuple[str, Path]]:
    """Each object that has a model, in order, with that of its first seed."""
    for name in dict.fromkeys(name for name, _ in entries):
        seed = min(seed for other, seed in entries if other == name)
        ply = folder / entries[name, seed] / "model.ply"
        if ply.exists():
            yield name, ply


def _model(
    job: PaperJob, size_px: int, anchor: str, name: str, ply: Path, source: str | None, room: int
) -> Model:
    """room: bytes that a live model may take."""
    gaussians = load_ply(ply)
    if len(gaussians) == 0:
        raise UserError(f"{ply} holds no Gaussian; sample the object again")
    view = ViewSettings.of(job.protocol.render)
    # seen at the size of a web page, the model must look as it did at its own resolution
    shown = widen_to_pixels(gaussians, size_px, distance=view.distance, fov_y_deg=view.fov_y_deg)
    label = f"{name}, a 3D model made from one picture"
    words: dict[str, Any] = {"label": label, "view": view, "poster": poster(shown, view)}
    page = viewer_html(anchor, shown, **words)
    live = len(page) <= room
    page = page if live else viewer_html(anchor, None, **words)
    return Model(name, page, source, len(gaussians), live)
