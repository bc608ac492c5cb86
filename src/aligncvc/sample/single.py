"""One photograph -> model.ply, a turntable, a page to turn it on, and the cut-out that the networks saw."""

from __future__ import annotations

from pathlib import Path

import torch

from aligncvc.cameras import orbit, ring_azimuths_deg
from aligncvc.config import Config, Method
from aligncvc.errors import UserError
from aligncvc.pair import RECON_FILE, STUDENT_FILE, load_pair
from aligncvc.sample.batch import sample_one, save_model
from aligncvc.sample.photo import prepare
from aligncvc.viewer.page import ViewSettings, write_viewer
from aligncvc.viewer.templating import data_uri
from aligncvc.viewer.turntable import save_animation, turntable
from aligncvc.views import save_png


def chosen_run(align_dir: Path, run: str | None) -> str | None:
    """The alignment run to use: the one asked for, else `both` if it has weights, else None (pretrained)."""
    if run is not None:
        return run
    folder = align_dir / "both"
    return "both" if all((folder / name).exists() for name in (STUDENT_FILE, RECON_FILE)) else None


def sample_photo(
    config: Config,
    photo: Path,
    out: Path,
    *,
    run: str | None = None,
    align_dir: Path = Path("results/align"),
    steps: int = 4,
    seed: int = 0,
) -> list[Path]:
    """Write `out` (.ply) and beside it NAME.glb (a mesh), NAME_turntable.webp, NAME_input.png and NAME.html.

    The page shows the model in any browser, without a network. Returns the paths written.

    Raises UserError for a picture that cannot be handled, an output that is not .ply, or missing weights.
    """
    if out.suffix.lower() != ".ply":
        raise UserError(f"--out {out} must end in .ply; it is a 3D Gaussian model")
    render = config.render
    image = prepare(photo, render.size_px)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    run = chosen_run(align_dir, run)
    generator, reconstructor = load_pair(config, run, align_dir)
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
        Method(steps=steps, run=run),
        config,
        image.to(device),
        cameras.to(device),
        seed,
        photo.name,
    )
    beside = [f"{out.stem}_turntable.webp", f"{out.stem}_input.png", f"{out.stem}.html"]
    animation, cut_out, page = (out.with_name(name) for name in beside)
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
