"""`python -m aligncvc.sample`: a whole set with one method, or one photograph."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro

from aligncvc.config import load_config
from aligncvc.errors import UserError, cli


def sample(
    photo: Annotated[Path | None, tyro.conf.Positional] = None,
    *,
    out: Path,
    config: Path | None = None,
    method: str | None = None,
    renders: Path | None = None,
    align_dir: Path = Path("results/align"),
    steps: int | None = None,
    seed: int = 0,
    force: bool = False,
) -> None:
    """From images to 3D Gaussians.

    One photograph: `python -m aligncvc.sample photo.jpg --out model.ply`.
    A set: `python -m aligncvc.sample --method NAME --renders MANIFEST --out FOLDER`.

    Args:
        photo: a picture of one object; its background is removed unless it is transparent.
        out: the .ply to write (photograph), or a folder (set).
        config: configuration file; config/config.yaml if left out.
        method: a key of sample.methods: sampler, steps and alignment run; aligncvc_4 for a photograph.
        renders: set: manifest of the renders whose input views are sampled.
        align_dir: folder of the alignment runs.
        steps: photograph: another number of steps than the method's.
        seed: photograph: seed of the noise.
        force: replace files of another origin where the results go.
    """
    settings = load_config(config)
    if photo is not None:
        if renders is not None:
            raise UserError("give either a photograph or --renders, not both")
        if steps is not None and steps < 1:
            raise UserError(f"--steps {steps} must be at least 1")
        from aligncvc.sample.single import sample_photo  # torch and diffusers load only when there is work

        written = sample_photo(
            settings, photo, out, method=method, align_dir=align_dir, steps=steps, seed=seed, force=force
        )
        for path in written:
            print(path)
        return
    if method is None or renders is None:
        raise UserError("give a photograph, or --method and --renders for a whole set (see --help)")
    from aligncvc.sample.batch import sample_set

    sample_set(settings, method, renders, align_dir, out, force)


if __name__ == "__main__":
    cli(lambda: tyro.cli(sample))
