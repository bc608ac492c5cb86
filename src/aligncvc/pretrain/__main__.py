"""python -m aligncvc.pretrain {vae,unet,recon}: train one of the demo's networks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from aligncvc.config import load_config
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
    config: Path | None = None
    """configuration (default config/config.yaml)"""
    vae: Path | None = None
    """weights of the VAE, needed for unet"""
    start_from: Path | None = None
    """weights of the teacher to train on from, with a new optimiser (unet only; default: random ones)"""
    force: bool = False
    """replace files of another origin where the results go"""


def main() -> None:
    args = tyro.cli(Args)
    from aligncvc.pretrain import recon, unet, vae
    from aligncvc.pretrain.data import load_rings, split_ids
    from aligncvc.pretrain.fit import curve_path, state_path

    claim_files(
        [args.out, Path(f"{args.out}{PROVENANCE}")],
        inputs=[args.renders, *(path for path in (args.vae, args.start_from) if path)],
        kept=[curve_path(args.out), state_path(args.out, args.network)],
        force=args.force,
    )
    config = load_config(args.config)
    splits = split_ids(config.objects.sets[config.pretrain.set].list)
    everything = load_rings(args.renders)
    rings, held_out = everything.select(splits["train"]), everything.select(splits["eval"])
    if not rings.ids or not held_out.ids:
        raise UserError(
            f"{args.renders} and the object list of set {config.pretrain.set!r} share no objects on "
            "one side of the split; render the set that the list describes"
        )
    print(f"{len(rings.ids)} objects to train on, {len(held_out.ids)} held out", flush=True)
    if args.start_from and args.network != "unet":
        raise UserError(f"--start-from is for unet only, not for {args.network}; leave it out")
    if args.network == "unet":
        if args.vae is None:
            raise UserError("the teacher works on latents: give --vae with the trained VAE's weights")
        unet.train(config, rings, held_out, args.out, args.vae, args.start_from)
    elif args.network == "vae":
        vae.train(config, rings, held_out, args.out)
    else:
        recon.train(config, rings, held_out, args.out)
    write_provenance(
        args.out,
        inputs={"renders": sha256_file(args.renders)}
        | ({"start_from": sha256_file(args.start_from)} if args.start_from else {}),
        seed=config.seed,
        config=config.model_dump(mode="json"),
        network=args.network,
    )


if __name__ == "__main__":
    cli(main)
