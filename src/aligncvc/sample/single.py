"""One photograph -> model.ply, a turntable, a page to turn it on, and the cut-out that the networks saw."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import torch

from aligncvc.config.sections import Config, Method
from aligncvc.errors import UserError
from aligncvc.models.pair import load_pair
from aligncvc.sample.batch import sample_one, save_model
from aligncvc.sample.photo import prepare
from aligncvc.scene.cameras import orbit, ring_azimuths_deg
from aligncvc.scene.gaussians import save_ply
from aligncvc.scene.views import save_png
from aligncvc.viewer.page import ViewSettings, write_viewer
from aligncvc.viewer.ply import save_viewer_ply
from aligncvc.viewer.templating import data_uri
from aligncvc.viewer.turntable import save_animation, turntable

DEFAULT_METHOD = "aligncvc_4"
"""The method of the configuration that a photograph is sampled with."""


def chosen_method(config: Config, name: str | None) -> Method:
    """The named method, else the default one. Raises UserError if the configuration does not define it."""
    methods, wanted = config.sample.methods, name or DEFAULT_METHOD
    if wanted not in methods:
        raise UserError(f"sample.methods does not define {wanted!r}; give --method, one of {sorted(methods)}")
    return methods[wanted]


def sample_photo(
    config: Config,
    photo: Path,
    out: Path,
    *,
    method: str | None = None,
    align_dir: Path = Path("results/align"),
    steps: int | None = None,
    seed: int = 0,
    raw: bool = False,
) -> list[Path]:
    """Write `out` (.ply) and beside it NAME.glb (a mesh), NAME_turntable.webp, NAME_input.png and NAME.html.

    The page shows the model in any browser, without a network. Returns the paths written. method: a key of
    sample.methods, which says sampler, steps and alignment run; steps: another number of steps than its own.
    raw: write the .ply as the networks have it (z up, no low-pass), which is what evaluation measures,
    instead of ready for public viewers (`viewer.ply`).

    Raises UserError for a picture that cannot be handled, an output that is not .ply, an unknown method, or
    missing weights.
    """
    if out.suffix.lower() != ".ply":
        raise UserError(f"--out {out} must end in .ply; it is a 3D Gaussian model")
    chosen = chosen_method(config, method)
    if steps is not None:
        chosen = chosen.model_copy(update={"steps": steps})
    render = config.render
    image = prepare(photo, render.size_px)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    generator, reconstructor = load_pair(config, chosen.run, align_dir)
    # the photograph's elevation is unknown: the training renders' is assumed
    cameras = orbit(
        ring_azimuths_deg(render.rig_views),
        render.elevation_deg,
        distance=render.distance,
        fov_y_deg=render.fov_y_deg,
        size_px=render.size_px,
    )
    sampled, _ = sample_one(
        generator.to(device),
        reconstructor.to(device),
        chosen,
        config,
        image.to(device),
        cameras.to(device),
        seed,
        photo.name,
    )
    beside = [f"{out.stem}_turntable.webp", f"{out.stem}_input.png", f"{out.stem}.html"]
    animation, cut_out, page = (out.with_name(name) for name in beside)
    write = save_ply if raw else partial(save_viewer_ply, render=render)
    model, *surface = save_model(out, sampled.gaussians, config.protocol.metrics.geometry.voxel, write)
    save_animation(animation, turntable(sampled.gaussians, config))
    save_png(cut_out, image)
    write_viewer(
        page,
        sampled.gaussians,
        out.stem,
        caption=f"made from {photo.name}",
        native_px=render.size_px,
        poster=data_uri(animation.read_bytes(), ".webp"),
        view=ViewSettings.of(render),
    )
    return [model, animation, cut_out, page, *surface]
