"""`python -m aligncvc.sample`: a whole set with one method of one pair, or one photograph."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro

from aligncvc.config.jobs.sample import SampleJob
from aligncvc.config.option import Changes
from aligncvc.config.plan import PHOTO_METHOD, Plan
from aligncvc.errors import UserError, cli


def sample(
    photo: Annotated[Path | None, tyro.conf.Positional] = None,
    *,
    out: Path,
    settings: Path | None = None,
    config: Path | None = None,
    changes: Changes = (),
    pair: str | None = None,
    method: str | None = None,
    renders: Path | None = None,
    aligned: Path | None = None,
    steps: int | None = None,
    seed: int = 0,
    raw: bool = False,
    force: bool = False,
) -> None:
    """From images to 3D Gaussians.

    One photograph: `python -m aligncvc.sample photo.jpg --out model.ply`. The .ply is ready for
    public viewers of 3D Gaussians: y up, and as wide as the page beside it shows them.
    A set: `python -m aligncvc.sample --method NAME --renders MANIFEST --out FOLDER`.

    Args:
        photo: a picture of one object; its background is removed unless it is transparent.
        out: the .ply to write (photograph), or a folder (set).
        settings: set: the job's settings, which snakemake writes, instead of --config, --pair and --method.
        config: configuration file; config/config.yaml if left out.
        pair: a key of pairs; the first if left out.
        method: a key of sample.methods: feedback, steps and alignment run; aligncvc_4 for a photograph.
        renders: set: manifest of the renders whose input views are sampled.
        aligned: folder of the alignment run that the method uses; results/align/PAIR/RUN if left out.
        steps: photograph: another number of steps than the method's.
        seed: photograph: seed of the noise.
        raw: photograph: write the .ply as the networks have it, for measuring: z up, and without the low-pass
            of their small renderings, so that viewers show it full of holes. A set is always written so.
        force: replace files of another origin where the results go.
    """
    # torch and diffusers load only when there is work
    if photo is not None:
        if renders is not None or settings is not None:
            raise UserError("give either a photograph or --renders with --settings or --method, not both")
        plan = Plan.read(config, changes)
        job = plan.photo(pair or next(iter(plan.config.pairs)), method or PHOTO_METHOD, steps)
        from aligncvc.sample.photo import sample_photo

        for path in sample_photo(job, photo, out, aligned=aligned, seed=seed, raw=raw, force=force):
            print(path)
        return
    if renders is None or (method is None) == (settings is None):
        raise UserError("give a photograph, or --renders and --method (or --settings) for a set (see --help)")
    if settings is not None:
        chosen = SampleJob.read(settings, changes)
    else:
        plan = Plan.read(config, changes)
        chosen = plan.sample(pair or next(iter(plan.config.pairs)), str(method))
    from aligncvc.sample.sets import sample_set

    sample_set(chosen, renders, out, aligned, force)


COMMAND = sample


def main() -> None:
    tyro.cli(COMMAND)


if __name__ == "__main__":
    cli(main)
