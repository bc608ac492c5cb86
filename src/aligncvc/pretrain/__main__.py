"""python -m aligncvc.pretrain {vae,unet,recon}: train one of the demo's networks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from aligncvc.config.jobs.pretrain import PretrainJob
from aligncvc.config.plan import Plan
from aligncvc.config.root import load_config
from aligncvc.errors import UserError, cli
from aligncvc.files import PROVENANCE, sha256_file, write_provenance
from aligncvc.ownership import claim_files


@dataclass
class Args:
    """Train the VAE, the multi-view teacher or the reconstructor on rendered objects."""

    network: tyro.conf.Positional[Literal["vae", "unet", "recon"]]
    """which network"""
    renders: Path
    """manifest.tsv of the rendered training set"""
    out: Path
    """weights to write (safetensors); the curve goes beside it as .jsonl"""
    settings: Path | None = None
    """settings of this job, as the workflow writes them"""
    config: Path | None = None
    """configuration to make them from; config/config.yaml if both are left out"""
    vae: Path | None = None
    """weights of the VAE, needed for unet"""
    start_from: Path | None = None
    """weights of the teacher to train on from, with a new optimiser (unet only; default: random ones)"""
    force: bool = False
    """replace files of another origin where the results go"""


def main() -> None:
    args = tyro.cli(Args)
    if args.start_from and args.network != "unet":
        raise UserError(f"--start-from is for unet only, not for {args.network}; leave it out")
    if args.settings is not None:
        job = PretrainJob.read(args.settings)
    else:
        job = Plan(load_config(args.config)).pretrain(args.network)
    if job.network != args.network:
        raise UserError(f"{args.settings} is for {job.network}; give the settings of {args.network}")
    from aligncvc.pretrain import recon, unet, vae
    from aligncvc.pretrain.fit import run_files
    from aligncvc.pretrain.rings import load_rings, split_ids

    claim_files(
        [args.out, Path(f"{args.out}{PROVENANCE}")],
        inputs=[args.renders, *(path for path in (args.vae, args.start_from) if path)],
        kept=run_files(args.out, args.network),
        force=args.force,
    )

    splits = split_ids(job.object_list)
    everything = load_rings(args.renders, job.rig, job.size_px)
    rings, held_out = everything.select(splits["train"]), everything.select(splits["eval"])
    if not rings.ids or not held_out.ids:
        raise UserError(
            f"{args.renders} and the object list {job.object_list} share no objects on one side of the "
            "split; render the set that the list describes"
        )
    print(f"{len(rings.ids)} objects to train on, {len(held_out.ids)} held out", flush=True)
    if args.network == "vae":
        vae.train(job, rings, held_out, args.out)
    elif args.network == "recon":
        recon.train(job, rings, held_out, args.out)
    elif args.vae is None:
        raise UserError("the teacher works on latents: give --vae with the trained VAE's weights")
    else:
        unet.train(job, rings, held_out, args.out, args.vae, args.start_from)
    given = {"renders": args.renders, "vae": args.vae, "start_from": args.start_from}
    write_provenance(
        args.out,
        inputs={name: sha256_file(path) for name, path in given.items() if path is not None},
        seed=job.seed,
        config=job.model_dump(mode="json"),
        network=args.network,
    )


if __name__ == "__main__":
    cli(main)
