"""One photograph -> model.ply, a turntable, a page to turn it on, and the cut-out that the networks saw."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from aligncvc.config.jobs.sample import PhotoJob
from aligncvc.errors import UserError
from aligncvc.ownership import claim_files
from aligncvc.sample.photo import prepare
from aligncvc.sample.sets import pair_for, sample_one, save_model
from aligncvc.scene.cameras import orbit
from aligncvc.scene.gaussians import save_ply
from aligncvc.scene.views import save_png
from aligncvc.viewer.page import ViewSettings, write_viewer
from aligncvc.viewer.ply import save_viewer_ply
from aligncvc.viewer.templating import data_uri
from aligncvc.viewer.turntable import save_animation, turntable


def sample_photo(
    job: PhotoJob,
    photo: Path,
    out: Path,
    *,
    aligned: Path | None = None,
    seed: int = 0,
    raw: bool = False,
    force: bool = False,
) -> list[Path]:
    """Write `out` (.ply) and beside it NAME.glb (a mesh), NAME_turntable.webp, NAME_input.png and NAME.html.

    The page shows the model in any browser, without a network. Returns the paths written. aligned: folder of
    the method's alignment run; seed: of the noise. raw: write the .ply as the networks have it (z up, no
    low-pass), which is what evaluation measures, instead of ready for public viewers (`viewer.ply`).

    Raises UserError for a picture that cannot be handled, an output that is not .ply, missing weights, or,
    before any work, if one of the paths holds a file of another origin (unless force) or is the photograph.
    """
    if out.suffix.lower() != ".ply":
        raise UserError(f"--out {out} must end in .ply; it is a 3D Gaussian model")
    beside = (f"{out.stem}_turntable.webp", f"{out.stem}_input.png", f"{out.stem}.html", f"{out.stem}.glb")
    animation, cut_out, page, _ = others = [out.with_name(name) for name in beside]
    claim_files([out, *others], inputs=[photo], force=force)
    method, size_px = job.sample, job.sample.pair.renderings_px
    image = prepare(photo, size_px)
    pair = pair_for(method, aligned)
    device = next(pair.reconstructor.parameters()).device
    # the photograph's elevation is unknown: the training renders' is assumed
    cameras = orbit(
        job.azimuths_deg,
        job.elevation_deg,
        distance=job.distance,
        fov_y_deg=job.fov_y_deg,
        size_px=size_px,
    )
    sampled, _ = sample_one(pair, method, image.to(device), cameras.to(device), seed, "photo")
    view = ViewSettings.of(job)
    write = save_ply if raw else partial(save_viewer_ply, native_px=size_px, view=view)
    model, *surface = save_model(out, sampled.gaussians, method.voxel, write)
    save_animation(animation, turntable(sampled.gaussians, view, job.turntable_views, size_px))
    save_png(cut_out, image)
    write_viewer(
        page,
        sampled.gaussians,
        out.stem,
        caption=f"made from {photo.name}",
        native_px=size_px,
        poster=data_uri(animation.read_bytes(), ".webp"),
        view=view,
    )
    return [model, animation, cut_out, page, *surface]
