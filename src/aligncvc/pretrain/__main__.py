"""python -m aligncvc.pretrain NETWORK: train the VAE, a generator or a reconstructor."""

from __future__ import annotations

from pathlib import Path

import tyro

from aligncvc.config.jobs.pretrain import VAE, PretrainJob
from aligncvc.config.option import Changes
from aligncvc.config.plan import Plan
from aligncvc.config.pretrain_job import pretrain_job
from aligncvc.errors import UserError, cli
from aligncvc.files import PROVENANCE, sha256_file, write_provenance
from aligncvc.ownership import claim_files


def pretrain(
    network: tyro.conf.Positional[str],
    renders: tuple[Path, ...],
    out: Path,
    settings: Path | None = None,
    config: Path | None = None,
    changes: Changes = (),
    vae: Path | None = None,
    generator: Path | None = None,
    force: bool = False,
) -> None:
    """Train the VAE, a multi-view generator or a reconstructor on rendered objects.

    Args:
        network: `vae`, or a generator or reconstructor of the configuration's pairs.
        renders: manifest.tsv of each rendered training set.
        out: weights to write (safetensors); the curve goes beside it as .jsonl.
        settings: settings of this job, as the workflow writes them.
        config: configuration to make them from; config/config.yaml if both are left out.
        vae: weights of the VAE; those of the ledger if left out.
        generator: weights of the generator whose views a reconstructor is to expect; as vae.
        force: replace files of another origin where the results go.
    """
    if settings:
        job = PretrainJob.read(settings, changes)
    else:
        job = pretrain_job(Plan.read(config, changes), network)
    if job.name != network:
        raise UserError(f"{settings} is for {job.name}; give the settings of {network}")
    from aligncvc.pretrain import maps, recon, unet
    from aligncvc.pretrain import vae as autoencoder
    from aligncvc.pretrain.fit import run_files
    from aligncvc.pretrain.rings import joined, load_rings, split_ids

    parts = {"vae": vae, "unet": generator}
    given = {name: path for name, path in parts.items() if path is not None}
    inputs = given | {f"renders {i}": path for i, path in enumerate(renders)}
    written = [out, Path(f"{out}{PROVENANCE}")]
    claim_files(written, inputs=list(inputs.values()), kept=run_files(out, network), force=force)
    everything = joined([load_rings(path, job.rig, job.size_px) for path in renders])
    splits = split_ids(job.object_lists)
    rings, held_out = everything.select(splits["train"]), everything.select(splits["eval"])
    if not rings.ids or not held_out.ids:
        raise UserError(
            f"{', '.join(map(str, renders))} and the lists {', '.join(job.object_lists)} share no objects on "
            "one side of the split; render the sets that the lists describe"
        )
    print(f"{len(rings.ids)} objects to train on, {len(held_out.ids)} held out", flush=True)
    if job.part == VAE:
        autoencoder.train(job, rings, held_out, out)
    else:
        train = {"recon": recon, "unet": unet, "maps": maps}[job.part].train
        train(job, rings, held_out, out, given)
    hashes = {name: sha256_file(path) for name, path in inputs.items()}
    write_provenance(out, inputs=hashes, seed=job.seed, config=job.model_dump(mode="json"), network=network)


COMMAND = pretrain


def main() -> None:
    tyro.cli(COMMAND)


if __name__ == "__main__":
    cli(main)
