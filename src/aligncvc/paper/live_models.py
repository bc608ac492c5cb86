"""Models to turn on the report: viewers, or pictures where the page is full, and what they were made from."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from PIL import Image
from torch import Tensor

from aligncvc.config.jobs.paper import PaperJob
from aligncvc.errors import UserError
from aligncvc.paper.pair_results import lead_row, pixels_last, read_manifests
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


class Model(NamedTuple):
    """One object of the report. html: the viewer, or a picture; input: a data: address, or None."""

    name: str
    html: str
    input: str | None
    gaussians: int
    live: bool


class PairModels(NamedTuple):
    """The models of one pair. method: what made them, as in the figures (`lead_row`)."""

    pair: str
    method: str
    steps: int
    models: list[Model]


def webp(image: Image.Image, quality: int = 90) -> str:
    """A picture as the data: address of a WebP."""
    buffer = io.BytesIO()
    image.save(buffer, format="WEBP", quality=quality)
    return data_uri(buffer.getvalue(), ".webp")


def picture(image: Tensor) -> str:
    """A (3 or 4, H, W) image in [0, 1] as a data: address; a fourth channel is straight alpha."""
    return webp(Image.fromarray(pixels_last((image.clamp(0, 1) * 255).round().byte())), quality=88)


@torch.no_grad()
def poster(gaussians: Gaussians, view: ViewSettings) -> str:
    """The model from the viewer's first pose on nothing, as the data: address of a picture."""
    camera = orbit([view.azimuth_deg], view.elevation_deg, **view.lens, size_px=POSTER_PX)
    drawn = rasterise(gaussians, camera, background=0.0)
    return picture(torch.cat([drawn.rgb[0] / drawn.alpha[0].clamp_min(1e-4), drawn.alpha[0]]))


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
    view = ViewSettings.of(job.protocol.render)
    shown: list[PairModels] = []
    for pair in job.pairs:
        rows = [row for row in job.rows if row.pair == pair.name and (row.pair, row.method) in known]
        if not rows:
            continue
        lead, models = lead_row(rows), list[Model]()
        manifest = next(m for key, m in known.items() if key == (pair.name, lead.method))
        seeds = {name: min(s for n, s in manifest.entries if n == name) for name, _ in manifest.entries}
        plys = {name: manifest.path(name, seed) / "model.ply" for name, seed in seeds.items()}
        have = [name for name, ply in plys.items() if ply.exists()]
        for object_id in have[: job.paper.viewer_models]:
            gaussians = load_ply(plys[object_id])
            if len(gaussians) == 0:
                raise UserError(f"{plys[object_id]} holds no Gaussian; sample the object again")
            # seen at the size of a web page, the model must look as it did at its own resolution
            wide = widen_to_pixels(gaussians, pair.renderings_px, **view.lens)
            anchor = f"model-{object_id}" if not shown else f"model-{len(shown)}-{object_id}"
            name = names.get(object_id, object_id)
            label = f"{name}, a 3D model made from one picture"
            words: dict[str, Any] = {"label": label, "view": view, "poster": poster(wide, view)}
            page = viewer_html(anchor, wide, **words)
            live = len(page) <= room
            room -= len(page) if live else 0
            page = page if live else viewer_html(anchor, None, **words)
            models.append(Model(name, page, input_picture(folders, object_id), len(gaussians), live))
        shown.append(PairModels(pair.name, lead.method, lead.steps, models))
    return shown
