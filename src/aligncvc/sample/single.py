"""One photograph -> model.ply, a turntable, and the cut-out that the networks saw."""

from __future__ import annotations

from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from aligncvc.cameras import orbit, ring_azimuths_deg
from aligncvc.config import Config, Method
from aligncvc.errors import UserError
from aligncvc.files import atomic_path
from aligncvc.gaussians import Gaussians, save_ply
from aligncvc.pair import RECON_FILE, STUDENT_FILE, load_pair
from aligncvc.sample.batch import sample_one
from aligncvc.sample.photo import prepare
from aligncvc.splat import rasterise
from aligncvc.views import save_png

TURNTABLE_PX = 256
TURNTABLE_SECONDS = 3.0


def chosen_run(align_dir: Path, run: str | None) -> str | None:
    """The alignment run to use: the one asked for, else `both` if it has weights, else None (pretrained)."""
    if run is not None:
        return run
    folder = align_dir / "both"
    return "both" if all((folder / name).exists() for name in (STUDENT_FILE, RECON_FILE)) else None


@torch.no_grad()
def turntable(gaussians: Gaussians, config: Config, size_px: int = TURNTABLE_PX) -> Tensor:
    """Unbatched Gaussians -> (T, 3, size_px, size_px) on white, one turn at the configured elevation."""
    render = config.render
    cameras = orbit(
        ring_azimuths_deg(config.paper.turntable_views),
        render.elevation_deg,
        distance=render.distance,
        fov_y_deg=render.fov_y_deg,
        size_px=size_px,
    )
    return rasterise(gaussians, cameras.to(gaussians.means.device), background=1.0).rgb.clamp(0, 1)


def save_animation(path: Path, frames: Tensor, seconds: float = TURNTABLE_SECONDS) -> None:
    """Write frames (T, 3, H, W) in [0, 1] as a looping WebP."""
    arrays = (frames * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
    first, *rest = [Image.fromarray(a) for a in arrays]
    with atomic_path(path) as temporary:
        first.save(
            temporary,
            format="WEBP",
            save_all=True,
            append_images=rest,
            loop=0,
            quality=85,
            duration=round(1000 * seconds / len(arrays)),
        )


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
    """Write `out` (.ply) and beside it NAME_turntable.webp and NAME_input.png; return what was written.

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
    written = [out, out.with_name(f"{out.stem}_turntable.webp"), out.with_name(f"{out.stem}_input.png")]
    save_ply(written[0], sampled.gaussians)
    save_animation(written[1], turntable(sampled.gaussians, config))
    save_png(written[2], image)
    return written
