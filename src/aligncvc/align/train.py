"""One alignment run from renders to weights: start or continue, log, save, publish."""

from __future__ import annotations

from pathlib import Path

import torch
from accelerate import Accelerator
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from aligncvc.align.state import STATE_FILES, RunState
from aligncvc.align.trainer import UNROLLED_STEPS, Trainer
from aligncvc.checkpoints import network_settings, settled
from aligncvc.checkpoints.facts import Part
from aligncvc.codehash import code_hash
from aligncvc.config import Config
from aligncvc.files import PROVENANCE, sha256_file, sha256_json, write_provenance, write_text
from aligncvc.ownership import claim_folder
from aligncvc.pair import RECON_FILE, STUDENT_FILE, base_weights, write_weights
from aligncvc.renderset import RenderSet
from aligncvc.rollout import timesteps_for


def run_key(config: Config, run_name: str, renders: RenderSet, processes: int) -> str:
    """A hash of everything that a run's weights depend on."""
    relevant = config.model_dump(include={"seed", "render", "mvg", "recon", "align"}, mode="json")
    relevant["align"]["runs"] = relevant["align"]["runs"][run_name]
    weights = {part: sha256_file(path) for part, path in base_weights(config).items()}
    return sha256_json(
        [
            relevant,
            timesteps_for(UNROLLED_STEPS, config),
            run_name,
            renders.key,
            weights,
            processes,
            code_hash("aligncvc.align"),
        ]
    )


def train(config: Config, run_name: str, manifest: Path, out: Path, force: bool = False) -> None:
    """Run (or continue) one alignment run and write its weights, metrics and provenance into `out`.

    Raises UserError before work if `out` holds files of another origin, unless force.
    """
    accelerator = Accelerator(
        cpu=not torch.cuda.is_available(), mixed_precision="bf16" if config.align.bf16 else None
    )
    if accelerator.is_main_process:  # the one that writes
        weights = [f"{name}{end}" for name in (STUDENT_FILE, RECON_FILE) for end in ("", PROVENANCE)]
        claim_folder(
            out, ["metrics.jsonl", *weights], kept=[f"state/{name}" for name in STATE_FILES], force=force
        )
    renders = RenderSet(manifest, config.render.size_px)
    trainer = Trainer(config, run_name, renders, accelerator)
    key = run_key(config, run_name, renders, accelerator.num_processes)
    state = RunState(out / "state", key, trainer.parts)
    console = Console(stderr=True)
    start, remark = state.restore()
    if remark:
        console.print(remark, highlight=False)
    accelerator.wait_for_everyone()
    steps = trainer.steps
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    main = accelerator.is_main_process
    with Progress(*columns, console=console, disable=not (main and console.is_terminal)) as progress:
        task = progress.add_task(f"align {run_name}", total=steps, completed=start)
        for index in range(start, steps):
            record = trainer.step(index) | trainer.monitored(index)
            done = index + 1
            if main:
                state.log(record)
            progress.update(task, completed=done, description=describe(run_name, record))
            if main and (done % config.align.save_every == 0 or done == steps):
                state.save(done)
                if not console.is_terminal:
                    console.print(f"{done}/{steps} {describe(run_name, record)}", highlight=False)
    accelerator.wait_for_everyone()
    if main:
        publish(trainer, state, run_name, renders, out)


def describe(run_name: str, record: dict[str, float]) -> str:
    """The progress line: name, unrolled steps, losses, residual."""
    losses = " ".join(f"{k[5:]} {v:.3g}" for k, v in record.items() if k.startswith("loss_"))
    return f"align {run_name} k={record['k']} {losses} residual {record['residual_psnr']:.1f} dB"


def publish(trainer: Trainer, state: RunState, run_name: str, renders: RenderSet, out: Path) -> None:
    """Write the results, each complete or absent, then remove the state."""
    config, built = trainer.config, settled(trainer.config)
    inputs = {"renders": renders.key, "run": state.key}
    inputs |= {part: sha256_file(path) for part, path in base_weights(config).items()}
    write_text(out / "metrics.jsonl", state.metrics.read_text(encoding="utf-8"))
    parts: tuple[tuple[Part, str], ...] = (("student", STUDENT_FILE), ("recon", RECON_FILE))
    for (part, name), weights in zip(parts, trainer.results(), strict=True):
        facts = {"run": run_name, "lora_rank": config.align.lora_rank}
        write_weights(out / name, weights, **facts, settings=network_settings(built, part))
        write_provenance(
            out / name,
            inputs=inputs,
            config=config.model_dump(mode="json"),
            seed=config.seed,
            run=run_name,
            steps=trainer.steps,
        )
    state.discard()
