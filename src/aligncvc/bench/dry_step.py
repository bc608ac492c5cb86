"""`python -m aligncvc.bench.dry_step`: whether a training step runs at a configuration's sizes, and its cost.

One synthetic object is drawn into a temporary folder, the pair is built with random weights (time and memory
do not depend on them), and the Trainer itself makes a step: the losses, optimisers and averages of a run.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import tyro
from accelerate import Accelerator

from aligncvc.align.batches import unrolled_steps
from aligncvc.align.trainer import UNROLLED_STEPS, Trainer
from aligncvc.bench.training_memory import hold_teacher_twice, size_mb
from aligncvc.config.sections import Config, load_config
from aligncvc.errors import UserError, cli
from aligncvc.files import write_text
from aligncvc.hardware import PeakMemory, hardware
from aligncvc.models.ledger import settled
from aligncvc.models.pair import from_ledger
from aligncvc.scene.cameras import orbit, ring_azimuths_deg
from aligncvc.scene.gaussians import Gaussians
from aligncvc.scene.renderset import RenderSet
from aligncvc.scene.views import Views, save_views
from aligncvc.splat import rasterise
from aligncvc.streams import torch_stream

OBJECT = "synthetic"
BLOBS = 400
"""Gaussians of the synthetic object."""

CLIP_HEADS = "clip-vit-b32"
"""Ledger id of the encoder of `align.gan.encoder: clip`."""

Facts = dict[str, Any]


def synthetic_object(seed: int, count: int = BLOBS) -> Gaussians:
    """A cloud of opaque coloured blobs in the unit sphere, the same for the same seed."""
    random = torch_stream(seed, "dry_step", "object")
    return Gaussians(
        means=(torch.randn(count, 3, generator=random) * 0.25).clamp(-0.55, 0.55),
        scales=0.02 + 0.06 * torch.rand(count, 3, generator=random),
        quats=torch.nn.functional.normalize(torch.randn(count, 4, generator=random), dim=-1),
        opacities=torch.full((count,), 0.95),
        colors=torch.rand(count, 3, generator=random),
    )


@torch.no_grad()
def write_synthetic_set(folder: Path, config: Config) -> Path:
    """The synthetic object's ring as the render stage lays it out; returns the manifest's path."""
    render = config.render
    cameras = orbit(
        ring_azimuths_deg(render.ring_views),
        render.elevation_deg,
        distance=render.distance,
        fov_y_deg=render.fov_y_deg,
        size_px=render.size_px,
    )
    drawn = rasterise(synthetic_object(config.seed), cameras, background=0.0)
    colours = (drawn.rgb / drawn.alpha.clamp_min(1e-3)).clamp(0, 1)
    views = Views(torch.cat([colours, drawn.alpha.clamp(0, 1)], 1), cameras)
    rigs = {"rig": list(render.rig_indices), "ring": list(range(render.ring_views))}
    save_views(folder / OBJECT, views, object=OBJECT, rigs=rigs)
    rows = ["id\tstatus\tjob_hash", f"{OBJECT}\tok\t{config.seed}"]
    write_text(folder / "manifest.tsv", "\n".join(rows) + "\n")
    return folder / "manifest.tsv"


def random_weights(config: Config) -> Config:
    """The same networks without weights: what the weights' quirks decide is kept, their ids are null.

    Nothing is fetched either.
    """
    config = settled(config)
    checkpoints = config.checkpoints.model_copy(update={"offline": True})
    none = {"weights": None, "vae_weights": None, "image_encoder_weights": None}
    mvg = config.mvg.model_copy(update=none)
    recon = config.recon.model_copy(update={"weights": None})
    return config.model_copy(update={"mvg": mvg, "recon": recon, "checkpoints": checkpoints})


def available_heads(config: Config) -> Config:
    """The same configuration, with the bundled encoder under the discriminator where CLIP's is missing."""
    if config.align.gan.encoder == "clip":
        try:
            from_ledger(config, CLIP_HEADS)
        except UserError:
            gan = config.align.gan.model_copy(update={"encoder": "lite0", "levels": None})
            return config.model_copy(update={"align": config.align.model_copy(update={"gan": gan})})
    return config


def step_with(k: int, config: Config) -> int:
    """The first training step whose unrolled sampling step is k. Raises UserError unless k is in 1..4."""
    if not 1 <= k <= UNROLLED_STEPS:
        raise UserError(f"the sampler unrolls 1 to {UNROLLED_STEPS} steps, not {k}; choose one of these")
    return next(i for i in range(10_000) if unrolled_steps(config.seed, i, UNROLLED_STEPS) == k)


@contextmanager
def synthetic_renders(config: Config) -> Iterator[RenderSet]:
    """The synthetic object's renders, gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="aligncvc-dry-step-") as folder:
        yield RenderSet(write_synthetic_set(Path(folder), config), config.render.size_px)


def dry_step(
    config: Config, run: str = "both", *, k: int = 1, steps: int = 1, teacher_copy: bool = False
) -> Facts:
    """Make `steps` training steps of a run on a synthetic object, with random weights; report the last one.

    k: the unrolled sampling step that receives the gradient, in 1..4; the k - 1 before it add time. steps: 1
    includes the optimisers' first allocation; more leave warming up out of `seconds`. teacher_copy: hold the
    teacher's denoiser twice, as the release does. Precision, checkpointing and batch are the configuration's.
    Returns seconds and peak_mb (of the last step; on a CPU of the whole process), weights_mb (networks),
    record (what metrics.jsonl would hold), finite (every trained parameter after the step), sizes in pixels,
    discriminator (`lite0` where CLIP's file is missing), precision, gradient_checkpointing, hardware. Raises
    UserError if the run cannot be trained or the loss is not finite.
    """
    config = available_heads(random_weights(config.model_copy(update={"align": _unmonitored(config)})))
    cpu = not torch.cuda.is_available()
    accelerator = Accelerator(cpu=cpu, mixed_precision="bf16" if config.align.bf16 else None)
    index = step_with(k, config)
    with synthetic_renders(config) as renders:
        trainer = Trainer(config, run, renders, accelerator)
        if teacher_copy:
            hold_teacher_twice(trainer)
        for _ in range(steps):
            memory = PeakMemory(accelerator.device)
            record = trainer.step(index)
            peak = memory.read()
    networks = [trainer.generator, trainer.reconstructor, trainer.discriminator, trainer.lpips]
    networks += [trainer.teacher] if teacher_copy else []
    trained = [*trainer.lora.values(), *trainer.recon_parameters.values()]
    return {
        "run": run,
        "seconds": record["seconds"],
        "peak_mb": round(peak, 1),
        "weights_mb": round(size_mb(n for n in networks if n is not None), 1),
        "record": record,
        "finite": all(bool(p.isfinite().all()) for p in trained),
        "views_px": config.mvg.size_px or config.render.size_px,
        "renderings_px": config.render.size_px,
        "domains": config.mvg.domains,
        "discriminator": config.align.gan.encoder if trainer.discriminator is not None else None,
        "precision": accelerator.mixed_precision,
        "gradient_checkpointing": config.align.gradient_checkpointing,
        "hardware": hardware(),
    }


def _unmonitored(config: Config) -> Any:
    """The section `align` without its distances on a fixed batch, which are no part of a step."""
    return config.align.model_copy(update={"monitor_every": 0})


def command(
    config: Path = Path("config/paper.yaml"),
    run: str = "both",
    k: int = 1,
    steps: int = 1,
    bf16: bool | None = None,
    checkpointing: bool | None = None,
    teacher_copy: bool = False,
) -> None:
    """One training step on a synthetic object with random weights, printed as JSON.

    Args:
        config: configuration file whose networks and sizes are built.
        run: alignment run whose losses are computed.
        k: the unrolled sampling step that receives the gradient, 1 to 4.
        steps: training steps; the last one is reported.
        bf16: bfloat16 autocast; the configuration's if left out.
        checkpointing: gradient checkpointing; the configuration's if left out.
        teacher_copy: hold the teacher's denoiser twice.
    """
    settings = load_config(config)
    asked = {"bf16": bf16, "gradient_checkpointing": checkpointing}
    changes = {name: value for name, value in asked.items() if value is not None}
    align = settings.align.model_copy(update=changes)
    settings = settings.model_copy(update={"align": align})
    print(json.dumps(dry_step(settings, run, k=k, steps=steps, teacher_copy=teacher_copy), indent=1))


if __name__ == "__main__":
    cli(lambda: tyro.cli(command))
