"""`python -m aligncvc.bench.training_memory`: the peak memory of one training step, by what is trained how.

Each variant runs in a process of its own, so that none finds memory that another has left. Counted is what
the variant adds to a process with everything imported: networks, gradients, optimiser states, averages and
activations; on CUDA the peak of allocated device memory.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import torch
import tyro
from torch import nn

from aligncvc.align.batches import draw_batch
from aligncvc.align.losses import reconstruction_loss
from aligncvc.align.state import Ema
from aligncvc.bench.jobs import BOTH, align_job, plan_of
from aligncvc.bench.measure import Row, measured_apart, size_mb
from aligncvc.bench.training import accelerator_for, set_up
from aligncvc.config.alignment import AlignRun
from aligncvc.config.jobs.align import AlignJob
from aligncvc.errors import UserError, cli
from aligncvc.files import write_text
from aligncvc.hardware import PeakMemory, hardware
from aligncvc.loop.rollout import lift
from aligncvc.models.encoders.lpips import load_lpips
from aligncvc.models.pair import load_reconstructor
from aligncvc.scene.renderset import RenderSet

RUNS = {
    "regression": AlignRun(soft=False, hard=False, regression=True),
    "soft": AlignRun(hard=False),
    "hard": AlignRun(soft=False),
    "both": BOTH,
    "both_teacher_copy": BOTH,
}
VARIANTS = ("reconstructor", *RUNS)
"""The reconstructor alone on ground-truth views; the losses; both with the teacher's denoiser held twice."""

STEPS = 3
"""Training steps that are looked at, after one that sets up the optimisers."""

Step = Callable[[int], object]


def reconstructor_alone(
    job: AlignJob, renders: RenderSet, device: torch.device
) -> tuple[Step, list[nn.Module | None]]:
    """(a training step, its networks): MSE + LPIPS of renderings from ground-truth views; no generator."""
    training, access = job.training, job.checkpoints
    model = load_reconstructor(job.pair.reconstructor, job.pair.seed, access).to(device).requires_grad_(True)
    perceptual = load_lpips("alex", access).to(device)
    optimiser = torch.optim.AdamW(model.parameters(), lr=training.lr_recon, weight_decay=0.0)
    ema = Ema(dict(model.named_parameters()), training.ema_decay)

    def step(index: int) -> None:
        batch = draw_batch(renders, job.seed, index, range(training.batch), device)
        renderings = lift(model, batch.views, batch.cameras)[1]
        optimiser.zero_grad(set_to_none=True)
        weights = training.mse_weight, training.foreground_weight
        reconstruction_loss(perceptual, renderings, batch.rgba, *weights).backward()
        optimiser.step()
        ema.update()

    return step, [model, perceptual]


def measure(job: AlignJob, variant: str, manifest: Path) -> Row:
    """variant, peak_mb (of STEPS steps, above this process without networks), weights_mb, hardware."""
    accelerator = accelerator_for(job)
    renders, before = RenderSet(manifest, job.pair.renderings_px), PeakMemory(accelerator.device).read()
    step: Step
    if variant == "reconstructor":
        step, networks = reconstructor_alone(job, renders, accelerator.device)
    else:
        run = job.model_copy(update={"run": variant, "losses": RUNS[variant]})
        trainer, networks = set_up(run, renders, accelerator, variant.endswith("teacher_copy"))
        step = trainer.step
    step(0)
    memory = PeakMemory(accelerator.device)
    for index in range(1, 1 + STEPS):
        step(index)
    return {
        "variant": variant,
        "peak_mb": round(memory.read() - before, 1),
        "weights_mb": round(size_mb(networks), 1),
        "hardware": hardware(),
    }


def table(job: AlignJob, manifest: Path) -> pd.DataFrame:
    """A row of each variant. Raises UserError for one whose process fails."""
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="aligncvc-memory-") as folder:
        settings = Path(folder, "settings.json")
        job.write(settings)
        for variant in VARIANTS:
            arguments = {"settings": settings, "variant": variant, "renders": manifest}
            words = [word for key, value in arguments.items() for word in (f"--{key}", str(value))]
            try:
                rows.append(measured_apart("aligncvc.bench.training_memory", *words))
            except UserError as error:
                raise UserError(f"the memory of {variant} could not be measured: {error}") from None
    return pd.DataFrame(rows)


def memory(
    renders: Path,
    out: Path = Path("results/memory.csv"),
    settings: Path | None = None,
    config: Path | None = None,
    pair: str | None = None,
    variant: str | None = None,
) -> None:
    """Measure all variants, one after the other, and write them as CSV.

    Args:
        renders: manifest of the training renders.
        out: the CSV: variant, peak_mb, weights_mb, hardware.
        settings: an alignment job as the workflow writes it; its pair and knobs are used with all losses.
        config: configuration file in its place; config/config.yaml if both are left out.
        pair: which of its pairs; the first if left out.
        variant: measure only this one, in this process, and print it as JSON.
    """
    job = AlignJob.read(settings) if settings else align_job(plan_of(config), pair)
    if variant is None:
        text = table(job, renders).to_csv(index=False, lineterminator="\n")
        write_text(out, text)
        print(text, end="")
    elif variant in VARIANTS:
        print(json.dumps(measure(job, variant, renders)))
    else:
        raise UserError(f"there is no variant {variant!r}; choose one of {', '.join(VARIANTS)}")


if __name__ == "__main__":
    cli(lambda: tyro.cli(memory))
