"""`python -m aligncvc.bench.training_memory`: the peak memory of one training step, by what is trained how.

Counted is what a variant, in a process of its own, adds to one with everything imported; on CUDA the peak of
allocated device memory. Weights are random and the object is synthetic.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import torch
import tyro

from aligncvc.align.batches import draw_batch
from aligncvc.align.trainer import reconstruction_loss
from aligncvc.bench.dry_step import BOTH, Facts, align_job, dry_step, without_weights
from aligncvc.bench.measure import measured_apart, size_mb
from aligncvc.bench.synthetic import synthetic_renders
from aligncvc.config.jobs.align import AlignJob, AlignRun
from aligncvc.config.option import Changes
from aligncvc.config.plan import Plan
from aligncvc.errors import cli
from aligncvc.files import write_text
from aligncvc.hardware import PeakMemory, hardware
from aligncvc.loop.unroll import lift
from aligncvc.models.encoders.lpips import load_lpips
from aligncvc.models.pair import load_reconstructor
from aligncvc.ownership import claim_files
from aligncvc.training import Ema

RUNS = {
    "regression": AlignRun(soft=False, hard=False, regression=True),
    "soft": AlignRun(hard=False),
    "hard": AlignRun(soft=False),
    "both": BOTH,
    "both_teacher_copy": BOTH,
}
VARIANTS = ("reconstructor", *RUNS)
"""The reconstructor alone on ground-truth views; the losses; both with the teacher's denoiser held twice."""


def reconstructor_alone(job: AlignJob, steps: int) -> Facts:
    """added_mb, weights_mb of training by MSE + LPIPS of renderings from ground-truth views; no generator."""
    job, device = without_weights(job), torch.device("cuda" if torch.cuda.is_available() else "cpu")
    spec, training = job.pair, job.training
    before = PeakMemory(device).read()
    model = load_reconstructor(spec.reconstructor, spec.seed).to(device).requires_grad_(True)
    perceptual = load_lpips("alex", job.checkpoints).to(device)
    optimiser = torch.optim.AdamW(model.parameters(), lr=training.lr_recon, weight_decay=0.0)
    ema = Ema(dict(model.named_parameters()), training.ema_decay)
    with synthetic_renders(spec.rig.azimuths_deg, spec.renderings_px) as renders:
        for index in range(steps):
            memory = PeakMemory(device)
            batch = draw_batch(renders, job.seed, index, range(training.batch), device)
            drawn = lift(spec, model, batch.views, batch.cameras)[1]
            optimiser.zero_grad(set_to_none=True)
            weights = training.mse_weight, training.foreground_weight
            reconstruction_loss(perceptual, drawn.rgb, batch.rgba, *weights).backward()
            optimiser.step()
            ema.update()
    added, held = memory.read() - before, size_mb([model, perceptual])
    return {"added_mb": round(added, 1), "weights_mb": round(held, 1)}


def measure(job: AlignJob, variant: str) -> Facts:
    """A row of the CSV: of the second step, the first having set up the optimisers."""
    if variant == "reconstructor":
        found = reconstructor_alone(job, 2)
    else:
        run = job.model_copy(update={"run": variant, "losses": RUNS[variant]})
        found = dry_step(run, k=2, steps=2, teacher_copy=variant.endswith("teacher_copy"))
    sizes = {"peak_mb": found["added_mb"], "weights_mb": found["weights_mb"]}
    return {"variant": variant, **sizes, "hardware": hardware()}


def command(
    out: Path = Path("results/memory.csv"),
    settings: Path | None = None,
    config: Path | None = None,
    changes: Changes = (),
    force: bool = False,
) -> None:
    """Measure all variants, one after the other, and write them as CSV.

    Args:
        out: the CSV: variant, peak_mb, weights_mb, hardware.
        settings: an alignment job as the workflow writes it, whose pair and knobs are used with all losses.
        config: configuration file in its place; config/config.yaml if both are left out.
        force: replace `out` even if it is of another origin.
    """
    claim_files([out], force=force)
    job = AlignJob.read(settings, changes) if settings else align_job(Plan.read(config, changes))
    rows = pd.DataFrame([measured_apart(measure, job, variant) for variant in VARIANTS])
    text = rows.to_csv(index=False, lineterminator="\n")
    write_text(out, text)
    print(text, end="")


def main() -> None:
    tyro.cli(command)


if __name__ == "__main__":
    cli(main)
