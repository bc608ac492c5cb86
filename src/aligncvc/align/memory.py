"""`python -m aligncvc.align.memory`: the peak memory of one training step, by what is trained how.

Each variant runs in a process of its own, so that none finds memory that another has left. Counted is what
the variant adds to a process with everything imported: networks, gradients, optimiser states, averages and
activations; on CUDA the peak of allocated device memory.
"""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
import tyro
from accelerate import Accelerator
from torch import nn

from aligncvc.align.batches import draw_batch
from aligncvc.align.losses import reconstruction_loss
from aligncvc.align.state import Ema
from aligncvc.align.trainer import Trainer
from aligncvc.checkpoints import settled
from aligncvc.config import Config, load_config
from aligncvc.config_align import AlignRun
from aligncvc.encoders import load_lpips
from aligncvc.errors import UserError, cli
from aligncvc.files import write_text
from aligncvc.hardware import hardware
from aligncvc.memory import PeakMemory
from aligncvc.ownership import claim_files
from aligncvc.pair import load_base, load_pretrained
from aligncvc.recon import build_reconstructor
from aligncvc.renderset import RenderSet
from aligncvc.rollout import lift

BOTH = AlignRun()
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

Row = dict[str, Any]
Step = Callable[[int], object]


def reconstructor_alone(
    config: Config, renders: RenderSet, device: torch.device
) -> tuple[Step, list[nn.Module]]:
    """(a training step, its networks): MSE + LPIPS of renderings from ground-truth views; no generator."""
    config = settled(config, ["recon"])
    model = build_reconstructor(config.recon)
    if config.recon.weights is not None:
        load_base(model, config, "recon")
    model.to(device)
    perceptual = load_lpips("alex").to(device)
    optimiser = torch.optim.AdamW(model.parameters(), lr=config.align.lr_recon, weight_decay=0.0)
    ema = Ema(dict(model.named_parameters()), config.align.ema_decay)

    def step(index: int) -> None:
        batch = draw_batch(renders, config.seed, index, range(config.align.batch), device)
        renderings = lift(model, batch.views, batch.cameras)[1]
        optimiser.zero_grad(set_to_none=True)
        weights = config.align.mse_weight, config.align.foreground_weight
        reconstruction_loss(perceptual, renderings, batch.rgba, *weights).backward()
        optimiser.step()
        ema.update()

    return step, [model, perceptual]


def post_training(
    config: Config, variant: str, renders: RenderSet, accelerator: Accelerator
) -> tuple[Step, list[nn.Module]]:
    """(a training step, its networks) of an alignment run."""
    align = config.align.model_copy(update={"runs": {variant: RUNS[variant]}, "monitor_every": 0})
    trainer = Trainer(config.model_copy(update={"align": align}), variant, renders, accelerator)
    networks: list[nn.Module] = [trainer.generator, trainer.reconstructor]
    networks += [n for n in (trainer.discriminator, trainer.lpips) if n is not None]
    if variant.endswith("teacher_copy"):
        hold_teacher_twice(trainer)
        networks.append(trainer.teacher)
    return trainer.step, networks


def hold_teacher_twice(trainer: Trainer) -> None:
    """Give the trainer's teacher a denoiser of its own, which shows what sharing one saves."""
    trainer.teacher = load_pretrained(trainer.config)[0].to(trainer.device)
    for name, part in trainer.generator.named_children():
        if name != "unet":  # the VAE and the image encoder do not differ: only the denoiser is needed twice
            setattr(trainer.teacher, name, part)


def size_mb(networks: Iterable[nn.Module]) -> float:
    """Parameters and buffers of the networks in MB (2^20 bytes), each once."""
    tensors = {id(t): t for n in networks for t in [*n.parameters(), *n.buffers()]}
    return sum(t.numel() * t.element_size() for t in tensors.values()) / 2**20


def measure(config: Config, variant: str, manifest: Path) -> Row:
    """variant, peak_mb (of STEPS steps, above this process without networks), weights_mb, hardware."""
    accelerator = Accelerator(cpu=not torch.cuda.is_available())
    renders = RenderSet(manifest, config.render.size_px)
    before = PeakMemory(accelerator.device).read()
    if variant == "reconstructor":
        step, networks = reconstructor_alone(config, renders, accelerator.device)
    else:
        step, networks = post_training(config, variant, renders, accelerator)
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


def measured_apart(config: Path | None, variant: str, manifest: Path) -> Row:
    """`measure` in a new process. Raises UserError with its last line if it fails."""
    command = [
        sys.executable,
        "-m",
        "aligncvc.align.memory",
        "--variant",
        variant,
        "--renders",
        str(manifest),
    ]
    command += ["--config", str(config)] if config else []
    done = subprocess.run(command, text=True, capture_output=True, check=False)
    lines = (done.stdout if done.returncode == 0 else done.stderr).strip().splitlines() or ["it said nothing"]
    if done.returncode:
        raise UserError(f"the memory of {variant} could not be measured: {lines[-1].removeprefix('error: ')}")
    row: Row = json.loads(lines[-1])
    return row


def memory(
    renders: Path,
    out: Path = Path("results/memory.csv"),
    config: Path | None = None,
    variant: str | None = None,
    force: bool = False,
) -> None:
    """Measure all variants, one after the other, and write them as CSV.

    Args:
        renders: manifest of the training renders.
        out: the CSV: variant, peak_mb, weights_mb, hardware.
        config: configuration file; config/config.yaml if left out.
        variant: measure only this one, in this process, and print it as JSON.
        force: replace `out` even if it is of another origin.
    """
    if variant is not None:
        if variant not in VARIANTS:
            raise UserError(f"there is no variant {variant!r}; choose one of {', '.join(VARIANTS)}")
        print(json.dumps(measure(load_config(config), variant, renders)))
        return
    claim_files([out], inputs=[renders], force=force)
    rows = [measured_apart(config, name, renders) for name in VARIANTS]
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(out, text.getvalue())
    print(text.getvalue(), end="")


if __name__ == "__main__":
    cli(lambda: tyro.cli(memory))
