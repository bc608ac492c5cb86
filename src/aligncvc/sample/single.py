"""One photograph -> model.ply, a turntable, a page to turn it on, and the cut-out that the networks saw."""

from __future__ import annotations

from pathlib import Path

import torch

from aligncvc.cameras import orbit, ring_azimuths_deg
from aligncvc.config import Config, Method
from aligncvc.errors import UserError
from aligncvc.ownership import claim_files
from aligncvc.pair import load_pair
from aligncvc.sample.batch import sample_one, save_model
from aligncvc.sample.photo import prepare
from aligncvc.viewer.page import ViewSettings, write_viewer
from aligncvc.viewer.templating import data_uri
from aligncvc.viewer.turntable import save_animation, turntable
from aligncvc.views import save_png

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
    force: bool = False,
) -> list[Path]:
    """Write `out` (.ply) and beside it NAME.glb (a mesh), NAME_turntable.webp, NAME_input.png and NAME.html.

    The page shows the model in any browser, without a network. Returns the paths written. method: a key of
    sample.methods, which says sampler, steps and alignment run; steps: another number of steps than its own.

    Raises UserError for a picture that cannot be handled, an output that is not .ply, an unknown method,
    missing weights, or, before any work, if one of the paths holds a file of another origin (unless force)
    or is the photograph.
    """
    if out.suffix.lower() != ".ply":
        raise UserError(f"--out {out} must end in .ply; it is a 3D Gaussian model")
    chosen = chosen_method(config, method)
    beside = (f"{out.stem}_turntable.webp", f"{out.stem}_input.png", f"{out.stem}.html", f"{out.stem}.glb")
    animation, cut_out, page, _ = others = [out.with_name(name) for name in beside]
    claim_files([out, *others], inputs=[photo], force=force)
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
    model, *surface = save_model(out, sampled.gaussians, config.protocol.metrics.geometry.voxel)
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
