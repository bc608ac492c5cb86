"""python -m aligncvc.pretrain {vae,unet,recon}: train one of the demo's networks."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import tyro

from aligncvc.config.jobs.pretrain import PretrainJob
from aligncvc.config.option import Changes
from aligncvc.config.plan import Plan
from aligncvc.errors import UserError, cli
from aligncvc.files import PROVENANCE, sha256_file, write_provenance
from aligncvc.ownership import claim_files


def pretrain(
    network: tyro.conf.Positional[Literal["vae", "unet", "recon"]],
    renders: tuple[Path, ...],
    out: Path,
    settings: Path | None = None,
    config: Path | None = None,
    changes: Changes = (),
    vae: Path | None = None,
    start_from: Path | None = None,
    force: bool = False,
) -> None:
    """Train the VAE, the multi-view teacher or the reconstructor on rendered objects.

    Args:
        network: which network.
        renders: manifest.tsv of each rendered training set.
        out: weights to write (safetensors); the curve goes beside it as .jsonl.
        settings: settings of this job, as the workflow writes them.
        config: configuration to make them from; config/config.yaml if both are left out.
        vae: weights of the VAE, needed for unet.
        start_from: weights of the teacher to train on from, with a new optimiser (unet only).
        force: replace files of another origin where the results go.
    """
    if start_from and network != "unet":
        raise UserError(f"--start-from is for unet only, not for {network}; leave it out")
    job = PretrainJob.read(settings, changes) if settings else Plan.read(config, changes).pretrain(network)
    if job.network != network:
        raise UserError(f"{settings} is for {job.network}; give the settings of {network}")
    from aligncvc.pretrain import recon as reconstructor
    from aligncvc.pretrain import unet as teacher
    from aligncvc.pretrain import vae as autoencoder
    from aligncvc.pretrain.fit import run_files
    from aligncvc.pretrain.rings import joined, load_rings, split_ids

    given = {"vae": vae, "start_from": start_from} | {f"renders {i}": path for i, path in enumerate(renders)}
    read, written = [path for path in given.values() if path], [out, Path(f"{out}{PROVENANCE}")]
    claim_files(written, inputs=read, kept=run_files(out, network), force=force)
    everything = joined([load_rings(path, job.rig, job.size_px) for path in renders])
    splits = split_ids(job.object_lists)
    rings, held_out = everything.select(splits["train"]), everything.select(splits["eval"])
    if not rings.ids or not held_out.ids:
        raise UserError(
            f"{', '.join(map(str, renders))} and the lists {', '.join(job.object_lists)} share no objects on "
            "one side of the split; render the sets that the lists describe"
        )
    print(f"{len(rings.ids)} objects to train on, {len(held_out.ids)} held out", flush=True)
    if network == "vae":
        autoencoder.train(job, rings, held_out, out)
    elif network == "recon":
        reconstructor.train(job, rings, held_out, out)
    elif vae is None:
        raise UserError("the teacher works on latents: give --vae with the trained VAE's weights")
    else:
        teacher.train(job, rings, held_out, out, vae, start_from)
    inputs = {name: sha256_file(path) for name, path in given.items() if path is not None}
    write_provenance(out, inputs=inputs, seed=job.seed, config=job.model_dump(mode="json"), network=network)


COMMAND = pretrain


def main() -> None:
    tyro.cli(COMMAND)


if __name__ == "__main__":
    cli(main)
